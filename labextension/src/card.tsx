/** One kernel's slice: its name, state in words, memory, time, and what can be done (sidebar.tsx). */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { MemoryBar, Sparkline } from './chart';
import { CommandIds, canDo } from './commands';
import type { History } from './history';
import type { IPlace } from './kernels';
import type { ISlice } from './wire';
import { explanationOf, formatSeconds, idleLimitOf, memoryOf, percentBack, stateOf } from './words';

export interface ICardProps {
  readonly slice: ISlice;
  readonly place: IPlace | undefined;
  readonly history: History;
  readonly nowMs: number;
  readonly isCurrent: boolean;
  readonly trans: TranslationBundle;
  /** Runs a command about this card's kernel. */
  readonly run: (command: string) => void;
}

export function Card(props: ICardProps): React.JSX.Element {
  const { slice, place, history, nowMs, trans } = props;
  const id = `jp-tfusion-card-${slice.slice_id}`;
  const name = place?.name ?? (slice.name || trans.__('Kernel %1', slice.kernel_id.slice(0, 8)));
  const explanation = explanationOf(slice, trans);
  const warning = idleLimitOf(slice, trans);
  return (
    <article
      className="jp-tfusion-card"
      data-phase={slice.phase}
      data-kernel={slice.kernel_id}
      aria-labelledby={id}
      aria-current={props.isCurrent}
    >
      <h3 id={id} title={place?.path ?? name}>
        {name}
      </h3>
      <p className="jp-tfusion-state">
        <span className="jp-tfusion-dot" aria-hidden="true" />
        <span className="jp-tfusion-state-text">{stateOf(slice, trans)}</span>
      </p>
      {explanation !== '' && <p className="jp-tfusion-why">{explanation}</p>}
      {warning !== '' && <p className="jp-tfusion-warning">{warning}</p>}
      {slice.phase === 'swapping in' && (
        <progress
          max={100}
          value={percentBack(slice)}
          aria-label={trans.__('GPU data that are back on the GPU')}
        />
      )}
      {slice.phase !== 'ended' && (
        <>
          <MemoryBar slice={slice} trans={trans} />
          <p className="jp-tfusion-memory">{memoryOf(slice, trans)}</p>
        </>
      )}
      {!history.isEmpty(nowMs) && (
        <div className="jp-tfusion-sparks">
          <Sparkline parts={history.gpu(nowMs)} kind="gpu" />
          <Sparkline parts={history.waited(nowMs)} kind="waited" />
        </div>
      )}
      <p className="jp-tfusion-times">
        <span className="jp-tfusion-key jp-tfusion-key-gpu">
          {trans.__('on the GPU %1', formatSeconds(slice.gpu_s, trans))}
        </span>
        <span className="jp-tfusion-key jp-tfusion-key-waited">
          {trans.__('waited %1', formatSeconds(slice.waited_s, trans))}
        </span>
      </p>
      <CardActions {...props} name={name} />
    </article>
  );
}

function CardActions(props: ICardProps & { name: string }): React.JSX.Element {
  const { slice, place, name, trans, run } = props;
  const swapped = slice.resident_bytes === 0 && slice.swapped_bytes > 0;
  return (
    <div className="jp-tfusion-actions" role="group" aria-label={trans.__('Actions for %1', name)}>
      {swapped ? (
        <Action
          isEnabled={canDo('resume', slice)}
          label={trans.__('Bring back')}
          title={trans.__('Move its GPU data back to the GPU before a cell needs them')}
          onClick={() => run(CommandIds.resume)}
        />
      ) : (
        <Action
          isEnabled={canDo('swap-out', slice)}
          label={trans.__('Free GPU memory')}
          title={trans.__(
            "Move its GPU data to the computer's memory. Nothing is lost: they come back when a cell needs them"
          )}
          onClick={() => run(CommandIds.swapOut)}
        />
      )}
      <Action
        isEnabled={canDo('reset', slice)}
        label={trans.__('End GPU work')}
        title={trans.__('End what its programs do on the GPU. The kernel and its variables stay')}
        onClick={() => run(CommandIds.reset)}
      />
      <Action
        isEnabled={true}
        isNext={slice.phase === 'ended'}
        label={trans.__('Restart kernel')}
        title={trans.__('Start the kernel anew, with empty GPU memory')}
        onClick={() => run(CommandIds.restartKernel)}
      />
      {place !== undefined && (
        <Action
          isEnabled={true}
          label={trans.__('Open')}
          title={trans.__('Show %1', name)}
          onClick={() => run(CommandIds.openNotebook)}
        />
      )}
    </div>
  );
}

/** A button that stays where the keyboard is when it cannot be used: a disabled one would lose the focus. */
export function Action(props: {
  isEnabled: boolean;
  label: string;
  title: string;
  /** Whom it is about, where many buttons have the same label. */
  about?: string;
  /** Whether it is what to do next. */
  isNext?: boolean;
  onClick: () => void;
}): React.JSX.Element {
  return (
    <button
      type="button"
      className={props.isNext === true ? 'jp-tfusion-action jp-tfusion-next' : 'jp-tfusion-action'}
      aria-disabled={!props.isEnabled}
      aria-label={props.about === undefined ? undefined : `${props.label}: ${props.about}`}
      title={props.title}
      onClick={() => {
        if (props.isEnabled) {
          props.onClick();
        }
      }}
    >
      {props.label}
    </button>
  );
}
