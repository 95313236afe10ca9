/** The section "GPU slices" of Jupyter's panel of running things, for those who look for what is still running there. */
import type { IRunningSessions } from '@jupyterlab/running';
import { consoleIcon, notebookIcon } from '@jupyterlab/ui-components';
import type { LabIcon } from '@jupyterlab/ui-components';
import type { CommandRegistry } from '@lumino/commands';
import { Signal } from '@lumino/signaling';
import type { ISignal } from '@lumino/signaling';

import { CommandIds, canDo } from './commands';
import { vgpuIcon } from './icons';
import type { IVGpu } from './tokens';
import type { ISlice } from './wire';
import { explanationOf, formatBytes, memoryOf, stateOf } from './words';

export class RunningSlices implements IRunningSessions.IManager {
  constructor(
    private readonly vgpu: IVGpu,
    private readonly commands: CommandRegistry
  ) {
    this.name = vgpu.trans.__('GPU slices');
    this.shutdownLabel = vgpu.trans.__('Free GPU Memory');
    this.shutdownAllLabel = vgpu.trans.__('Free All GPU Memory');
    this.shutdownAllConfirmationText = vgpu.trans.__(
      "The GPU data of all your kernels move to the computer's memory. Nothing is lost: they come back when a cell needs them."
    );
    vgpu.model.changed.connect(this.onChange, this);
    vgpu.places.changed.connect(this.onChange, this);
  }

  readonly name: string;
  readonly shutdownLabel: string;
  readonly shutdownAllLabel: string;
  readonly shutdownAllConfirmationText: string;
  readonly shutdownItemIcon = vgpuIcon;

  get runningChanged(): ISignal<this, void> {
    return this._runningChanged;
  }

  running(): IRunningSessions.IRunningItem[] {
    return this.vgpu.model.slices.map(slice => this.item(slice));
  }

  refreshRunning(): void {
    void this.vgpu.model.resync();
  }

  shutdownAll(): void {
    for (const slice of this.vgpu.model.slices.filter(one => canDo('swap-out', one))) {
      this.free(slice);
    }
  }

  private item(slice: ISlice): IRunningSessions.IRunningItem {
    const { places, trans } = this.vgpu;
    const place = places.placeOf(slice.kernel_id);
    const item: IRunningSessions.IRunningItem = {
      icon: (): LabIcon => (place === undefined ? vgpuIcon : place.isNotebook ? notebookIcon : consoleIcon),
      label: () => place?.name ?? (slice.name || slice.kernel_id.slice(0, 8)),
      labelTitle: () =>
        [stateOf(slice, trans), memoryOf(slice, trans), explanationOf(slice, trans)]
          .filter(line => line !== '')
          .join('. '),
      detail: () => `${stateOf(slice, trans)}, ${formatBytes(slice.used_bytes)}`,
      open: () => void this.commands.execute(CommandIds.openNotebook, { kernelId: slice.kernel_id })
    };
    return canDo('swap-out', slice) ? { ...item, shutdown: () => this.free(slice) } : item;
  }

  private free(slice: ISlice): void {
    void this.commands.execute(CommandIds.swapOut, { kernelId: slice.kernel_id });
  }

  private onChange(): void {
    this._runningChanged.emit();
  }

  private readonly _runningChanged = new Signal<this, void>(this);
}
