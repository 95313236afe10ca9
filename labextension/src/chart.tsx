/** The small pictures of a card: the memory bar and the sparklines. Colours are classes (style/index.css). */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { ISlice } from './wire';
import { memoryOf } from './words';

/** Memory used of the limit, as a part that is on the GPU and one that lies on the host. */
export function MemoryBar(props: { slice: ISlice; trans: TranslationBundle }): React.JSX.Element {
  const { slice, trans } = props;
  const limit = Math.max(1, slice.vram_bytes);
  const percent = (bytes: number) => `${Math.min(100, (100 * bytes) / limit)}%`;
  return (
    <div
      className="jp-tfusion-bar"
      role="meter"
      aria-label={trans.__('GPU memory')}
      aria-valuemin={0}
      aria-valuemax={limit}
      aria-valuenow={Math.min(limit, slice.used_bytes)}
      aria-valuetext={memoryOf(slice, trans)}
    >
      <span className="jp-tfusion-bar-resident" style={{ width: percent(slice.resident_bytes) }} />
      <span className="jp-tfusion-bar-swapped" style={{ width: percent(slice.swapped_bytes) }} />
    </div>
  );
}

/** The part of a GPU's memory that is in use. */
export function UsedBar(props: {
  used: number;
  total: number;
  label: string;
  text: string;
}): React.JSX.Element {
  const total = Math.max(1, props.total);
  return (
    <div
      className="jp-tfusion-bar"
      role="meter"
      aria-label={props.label}
      aria-valuemin={0}
      aria-valuemax={total}
      aria-valuenow={Math.min(total, props.used)}
      aria-valuetext={props.text}
    >
      <span
        className="jp-tfusion-bar-resident"
        style={{ width: `${Math.min(100, (100 * props.used) / total)}%` }}
      />
    </div>
  );
}

const WIDTH = 100;
const HEIGHT = 20;

/** Parts of 1 over time, oldest first. For the eye alone: what they amount to stands beside them in words. */
export function Sparkline(props: { parts: readonly number[]; kind: 'gpu' | 'waited' }): React.JSX.Element {
  const { parts, kind } = props;
  const step = WIDTH / Math.max(1, parts.length);
  const y = (part: number) => (HEIGHT - part * (HEIGHT - 1)).toFixed(1);
  // A line along the bottom would look like something.
  if (parts.every(part => part === 0)) {
    return <></>;
  }
  const line = parts
    .map((part, index) => `H${(index * step).toFixed(1)}V${y(part)}H${((index + 1) * step).toFixed(1)}`)
    .join('');
  return (
    <svg
      className={`jp-tfusion-spark jp-tfusion-spark-${kind}`}
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
      aria-hidden="true"
      focusable="false"
    >
      <path d={`M0 ${HEIGHT}${line}V${HEIGHT}Z`} />
    </svg>
  );
}
