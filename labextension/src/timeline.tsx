/** A picture of who was on the GPU when: a row for each slice, a stripe for each state (host_view.tsx). */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { ITimeline, ITimelineRow, Phase } from './wire';
import { formatSeconds } from './words';

const WIDTH = 600;
const ROW = 16;
const GAP = 4;

/** A stretch of time in one state. */
export interface IStripe {
  readonly fromS: number;
  readonly toS: number;
  readonly phase: Phase;
}

/** The stretches between a row's samples; a sample holds until the next, the last one until now or the slice's end. */
export function stripesOf(row: ITimelineRow, nowS: number): IStripe[] {
  const stripes: IStripe[] = [];
  for (const [index, sample] of row.samples.entries()) {
    const toS = row.samples[index + 1]?.at_s ?? nowS;
    const last = stripes.at(-1);
    if (last !== undefined && last.phase === sample.phase) {
      stripes[stripes.length - 1] = { ...last, toS };
    } else {
      stripes.push({ fromS: sample.at_s, toS, phase: sample.phase });
    }
  }
  return stripes.filter(stripe => stripe.phase !== 'ended' && stripe.toS > stripe.fromS);
}

export function Timeline(props: { timeline: ITimeline; trans: TranslationBundle }): React.JSX.Element | null {
  const { timeline, trans } = props;
  const rows = timeline.slices.filter(row => row.samples.length > 0);
  if (rows.length === 0) {
    return null;
  }
  const nowS = timeline.now_s;
  const fromS = Math.min(...rows.map(row => row.samples[0]?.at_s ?? nowS));
  const lengthS = Math.max(1, nowS - fromS);
  const x = (atS: number) => (WIDTH * (atS - fromS)) / lengthS;
  const height = rows.length * (ROW + GAP);
  const legend: [Phase, string][] = [
    ['running', trans.__('running')],
    ['waiting', trans.__('waiting')],
    ['swapping in', trans.__('moving on or off the GPU')],
    ['swapped out', trans.__('swapped out')],
    ['idle', trans.__('idle, holds memory')]
  ];
  return (
    <figure className="jp-tfusion-timeline">
      <figcaption>{trans.__('Who was on the GPU in the last %1', formatSeconds(lengthS, trans))}</figcaption>
      <div className="jp-tfusion-timeline-rows">
        <ol>
          {rows.map(row => (
            <li
              key={row.slice_id}
              style={{ height: ROW, marginBottom: GAP }}
              title={`${row.owner}: ${row.name}`}
            >
              {row.owner === '' ? row.name : `${row.owner}: ${row.name}`}
            </li>
          ))}
        </ol>
        <svg
          viewBox={`0 0 ${WIDTH} ${height}`}
          preserveAspectRatio="none"
          style={{ height }}
          role="img"
          aria-label={summaryOf(rows, nowS, trans)}
        >
          {rows.map((row, index) => (
            <g key={row.slice_id}>
              <rect className="jp-tfusion-lane" x={0} y={index * (ROW + GAP)} width={WIDTH} height={ROW} />
              {stripesOf(row, nowS).map(stripe => (
                <rect
                  key={stripe.fromS}
                  data-phase={stripe.phase}
                  x={x(stripe.fromS)}
                  y={index * (ROW + GAP)}
                  width={Math.max(1, x(stripe.toS) - x(stripe.fromS))}
                  height={ROW}
                >
                  <title>{`${row.name}: ${stripe.phase}, ${formatSeconds(stripe.toS - stripe.fromS, trans)}`}</title>
                </rect>
              ))}
            </g>
          ))}
        </svg>
      </div>
      <ul className="jp-tfusion-legend" aria-hidden="true">
        {legend.map(([phase, words]) => (
          <li key={phase}>
            <span className="jp-tfusion-swatch" data-phase={phase} /> {words}
          </li>
        ))}
      </ul>
    </figure>
  );
}

/** The picture in words. */
function summaryOf(rows: readonly ITimelineRow[], nowS: number, trans: TranslationBundle): string {
  const secondsIn = (row: ITimelineRow, phase: Phase) =>
    stripesOf(row, nowS)
      .filter(stripe => stripe.phase === phase)
      .reduce((sum, stripe) => sum + stripe.toS - stripe.fromS, 0);
  return rows
    .map(row =>
      trans.__(
        '%1 ran %2 and waited %3.',
        row.name,
        formatSeconds(secondsIn(row, 'running'), trans),
        formatSeconds(secondsIn(row, 'waiting'), trans)
      )
    )
    .join(' ');
}
