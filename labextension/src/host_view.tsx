/** The teacher's view: every slice of the host, who was on the GPU when, and the same actions as on one's own. */
import { ReactWidget } from '@jupyterlab/ui-components';
import type { CommandRegistry } from '@lumino/commands';
import type { Message } from '@lumino/messaging';
import * as React from 'react';

import { Action } from './card';
import { MemoryBar } from './chart';
import { CommandIds, canDo } from './commands';
import { HostModel } from './host_model';
import { vgpuIcon } from './icons';
import { Pool } from './pool';
import { Timeline } from './timeline';
import type { IVGpu } from './tokens';
import type { ISlice } from './wire';
import { explanationOf, formatSeconds, memoryOf, stateOf } from './words';

/** How often the times that only time changes are drawn anew. */
const COUNT_MS = 5000;

/** What the table can be sorted by. */
export const ORDERS = ['memory', 'gpu', 'waited', 'idle', 'owner'] as const;
export type Order = (typeof ORDERS)[number];

/** The slices, those first who use or wait most. */
export function sorted(slices: readonly ISlice[], order: Order): ISlice[] {
  const key: Record<Order, (a: ISlice, b: ISlice) => number> = {
    memory: (a, b) => b.resident_bytes - a.resident_bytes || b.used_bytes - a.used_bytes,
    gpu: (a, b) => b.gpu_s - a.gpu_s,
    waited: (a, b) => b.waited_s - a.waited_s,
    idle: (a, b) => b.idle_s - a.idle_s,
    owner: (a, b) => a.owner.localeCompare(b.owner)
  };
  return [...slices].sort(
    (a, b) => key[order](a, b) || a.name.localeCompare(b.name) || (a.slice_id < b.slice_id ? -1 : 1)
  );
}

export class HostView extends ReactWidget {
  constructor(
    private readonly vgpu: IVGpu,
    private readonly commands: CommandRegistry
  ) {
    super();
    this.id = 'jp-tfusion-host';
    this.addClass('jp-tfusion-host');
    this.title.icon = vgpuIcon;
    this.title.label = vgpu.trans.__('GPU of this host');
    this.title.closable = true;
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', vgpu.trans.__('GPU of this host'));
    // So that the keyboard can scroll it.
    this.node.tabIndex = 0;
    this.host = new HostModel(vgpu.api, vgpu.model);
    this.host.changed.connect(() => this.update(), this);
  }

  override dispose(): void {
    this.follow(false);
    this.host.dispose();
    super.dispose();
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this.follow(this.isVisible);
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.follow(true);
  }

  protected override onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this.follow(false);
  }

  private follow(isShown: boolean): void {
    this.host.isShown = isShown;
    clearInterval(this.counting);
    this.counting = isShown ? setInterval(() => this.update(), COUNT_MS) : undefined;
  }

  protected override render(): React.JSX.Element {
    const { trans } = this.vgpu;
    const { host, timeline, problem } = this.host;
    return (
      <div className="jp-tfusion-content">
        {problem !== '' && (
          <p className="jp-tfusion-problem" role="alert">
            {problem}
          </p>
        )}
        {host !== undefined && (
          <>
            <h2>{trans.__('GPUs')}</h2>
            <Pool gpus={host.gpus} trans={trans} />
            {timeline !== undefined && <Timeline timeline={timeline} trans={trans} />}
            <h2>{trans.__('Slices')}</h2>
            {host.slices.length === 0 ? (
              <p className="jp-tfusion-hint">{trans.__('Nobody has a GPU slice now.')}</p>
            ) : (
              this.renderTable(host.slices)
            )}
          </>
        )}
      </div>
    );
  }

  private renderTable(slices: readonly ISlice[]): React.JSX.Element {
    const { trans } = this.vgpu;
    return (
      <table>
        <thead>
          <tr>
            {this.renderHead('owner', trans.__('Who'))}
            <th scope="col">{trans.__('State')}</th>
            {this.renderHead('memory', trans.__('GPU memory'))}
            {this.renderHead('gpu', trans.__('On the GPU'))}
            {this.renderHead('waited', trans.__('Waited'))}
            {this.renderHead('idle', trans.__('Idle'))}
            <th scope="col">{trans.__('Actions')}</th>
          </tr>
        </thead>
        <tbody>{sorted(slices, this.order).map(slice => this.renderRow(slice))}</tbody>
      </table>
    );
  }

  private renderHead(order: Order, label: string): React.JSX.Element {
    const direction = order === 'owner' ? 'ascending' : 'descending';
    return (
      <th scope="col" aria-sort={this.order === order ? direction : 'none'}>
        <button
          type="button"
          onClick={() => {
            this.order = order;
            this.update();
          }}
        >
          {label}
        </button>
      </th>
    );
  }

  private renderRow(slice: ISlice): React.JSX.Element {
    const { trans } = this.vgpu;
    const name = slice.name || slice.slice_id.slice(0, 8);
    const who = slice.owner === '' ? name : `${slice.owner}: ${name}`;
    const run = (command: string) => () =>
      void this.commands.execute(command, { sliceId: slice.slice_id, name: who });
    return (
      <tr key={slice.slice_id} data-phase={slice.phase}>
        <th scope="row">
          {slice.owner !== '' && <span className="jp-tfusion-owner">{slice.owner}</span>} {name}
        </th>
        <td title={explanationOf(slice, trans)}>
          <span className="jp-tfusion-dot" aria-hidden="true" />
          {stateOf(slice, trans)}
          {slice.why !== '' && <p className="jp-tfusion-why">{slice.why}</p>}
        </td>
        <td>
          <MemoryBar slice={slice} trans={trans} />
          {memoryOf(slice, trans)}
        </td>
        <td>{formatSeconds(slice.gpu_s, trans)}</td>
        <td>{formatSeconds(slice.waited_s, trans)}</td>
        <td>{formatSeconds(slice.idle_s, trans)}</td>
        <td>
          <div className="jp-tfusion-actions">
            <Action
              isEnabled={canDo('swap-out', slice)}
              label={trans.__('Free memory')}
              about={who}
              title={trans.__("Move its GPU data to the computer's memory. Nothing is lost")}
              onClick={run(CommandIds.swapOut)}
            />
            <Action
              isEnabled={canDo('resume', slice)}
              label={trans.__('Bring back')}
              about={who}
              title={trans.__('Move its GPU data back to the GPU')}
              onClick={run(CommandIds.resume)}
            />
            <Action
              isEnabled={canDo('reset', slice)}
              label={trans.__('End GPU work')}
              about={who}
              title={trans.__('End what its programs do on the GPU; the kernel stays')}
              onClick={run(CommandIds.reset)}
            />
          </div>
        </td>
      </tr>
    );
  }

  private readonly host: HostModel;
  private counting: ReturnType<typeof setInterval> | undefined;
  private order: Order = 'memory';
}
