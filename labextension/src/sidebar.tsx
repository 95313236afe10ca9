/** The panel at the side: the pool of GPUs, and a card for each kernel with a slice. */
import { ReactWidget } from '@jupyterlab/ui-components';
import type { CommandRegistry } from '@lumino/commands';
import type { Message } from '@lumino/messaging';
import * as React from 'react';

import { Card } from './card';
import { CommandIds } from './commands';
import { vgpuIcon } from './icons';
import { Pool } from './pool';
import type { IVGpu } from './tokens';
import { explanationOf, stateOf } from './words';

/** How often what time alone changes is drawn anew: sparklines, and the time until the idle limit. */
const SCROLL_MS = 5000;

export class Sidebar extends ReactWidget {
  constructor(
    private readonly vgpu: IVGpu,
    private readonly commands: CommandRegistry
  ) {
    super();
    this.id = 'jp-tfusion-sidebar';
    this.addClass('jp-tfusion-sidebar');
    this.title.icon = vgpuIcon;
    this.title.caption = vgpu.trans.__('GPU slices');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', vgpu.trans.__('GPU slices'));
    vgpu.model.changed.connect(this.onChange, this);
    vgpu.places.changed.connect(this.onChange, this);
    vgpu.current.changed.connect(this.onChange, this);
  }

  override dispose(): void {
    clearInterval(this.scrolling);
    super.dispose();
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    if (this.isVisible) {
      this.scroll();
    }
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.update();
    this.scroll();
  }

  protected override onAfterHide(message: Message): void {
    super.onAfterHide(message);
    clearInterval(this.scrolling);
    this.scrolling = undefined;
  }

  /** Draws it anew now and then; no view, no work. */
  private scroll(): void {
    this.scrolling ??= setInterval(() => {
      const { model } = this.vgpu;
      if (model.slices.some(slice => slice.ends_in_s >= 0 || !model.historyOf(slice).isEmpty(Date.now()))) {
        this.update();
      }
    }, SCROLL_MS);
  }

  protected override render(): React.JSX.Element {
    const { model, trans } = this.vgpu;
    return (
      <div className="jp-tfusion-content">
        <h2>{trans.__('GPU')}</h2>
        {model.problem !== '' && (
          <p className="jp-tfusion-problem" role="alert">
            {model.problem}
          </p>
        )}
        {model.isLoaded && this.renderState()}
        {!model.isLoaded && model.problem === '' && <p>{trans.__('Asking the server…')}</p>}
      </div>
    );
  }

  private renderState(): React.JSX.Element {
    const { model, places, current, trans } = this.vgpu;
    const { server, gpus, slices } = model;
    const nowMs = Date.now();
    return (
      <>
        {!server.connected && server.sentence !== '' && <p className="jp-tfusion-hint">{server.sentence}</p>}
        {gpus.length > 0 && <Pool gpus={gpus} trans={trans} />}
        <h2>{trans.__('Your kernels')}</h2>
        {slices.length === 0 && (
          <p className="jp-tfusion-hint jp-tfusion-empty">
            {trans.__('No notebook uses a GPU now. Choose a kernel named vGPU in the launcher.')}
          </p>
        )}
        {slices.map(slice => (
          <Card
            key={slice.slice_id}
            slice={slice}
            place={places.placeOf(slice.kernel_id)}
            history={model.historyOf(slice)}
            nowMs={nowMs}
            isCurrent={slice.kernel_id === current.kernelId}
            trans={trans}
            run={command => void this.commands.execute(command, { kernelId: slice.kernel_id })}
          />
        ))}
        {model.maySeeHost && (
          <button
            type="button"
            className="jp-tfusion-action jp-tfusion-host-button"
            onClick={() => void this.commands.execute(CommandIds.openHost)}
          >
            {trans.__('All slices of this host')}
          </button>
        )}
        <p className="jp-tfusion-announcement" role="status">
          {this.announcement()}
        </p>
      </>
    );
  }

  /** What a screen reader says by itself: that the notebook in front of the user waits, comes back or has ended. */
  private announcement(): string {
    const { model, current, trans } = this.vgpu;
    const slice = model.sliceOf(current.kernelId);
    if (slice === undefined || !['waiting', 'ended', 'swapped out', 'hibernated'].includes(slice.phase)) {
      return '';
    }
    return `${trans.__('GPU')}: ${stateOf(slice, trans)}. ${explanationOf(slice, trans)}`;
  }

  private onChange(): void {
    if (this.isVisible) {
      this.update();
    }
  }

  private scrolling: ReturnType<typeof setInterval> | undefined;
}
