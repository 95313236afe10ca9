/** The current kernel's slice in a few words: in the status bar (Lab), or beside the kernel's name (Notebook). */
import { ReactWidget } from '@jupyterlab/ui-components';
import { Signal } from '@lumino/signaling';
import type { ISignal } from '@lumino/signaling';
import * as React from 'react';

import type { IVGpu } from './tokens';
import { explanationOf, formatBytes, memoryOf, stateOf } from './words';

export class StatusItem extends ReactWidget {
  constructor(
    private readonly vgpu: IVGpu,
    private readonly onClick: () => void
  ) {
    super();
    this.addClass('jp-tfusion-status');
    vgpu.model.changed.connect(this.onChange, this);
    vgpu.current.changed.connect(this.onChange, this);
    vgpu.settings.changed.connect(this.onChange, this);
    this.setHidden(!this.isActive);
  }

  /** Whether there is a slice to speak of. */
  get isActive(): boolean {
    const { model, current, settings } = this.vgpu;
    return settings.isOn('statusItem') && model.sliceOf(current.kernelId) !== undefined;
  }

  get activeChanged(): ISignal<this, void> {
    return this._activeChanged;
  }

  protected override render(): React.JSX.Element | null {
    const { model, current, trans } = this.vgpu;
    const slice = model.sliceOf(current.kernelId);
    if (slice === undefined) {
      return null;
    }
    const state = stateOf(slice, trans);
    const memory = trans.__('%1 / %2', formatBytes(slice.used_bytes), formatBytes(slice.vram_bytes));
    if (model.problem !== '') {
      return (
        <button type="button" data-phase="unknown" title={model.problem} onClick={this.onClick}>
          <span className="jp-tfusion-dot" aria-hidden="true" />
          {trans.__('GPU: not known')}
        </button>
      );
    }
    const title = [trans.__('GPU: %1', state), memoryOf(slice, trans), explanationOf(slice, trans)]
      .filter(line => line !== '')
      .join('\n');
    return (
      <button type="button" data-phase={slice.phase} title={title} onClick={this.onClick}>
        <span className="jp-tfusion-dot" aria-hidden="true" />
        {slice.phase === 'ended' ? trans.__('GPU %1', state) : trans.__('GPU %1, %2', memory, state)}
      </button>
    );
  }

  private onChange(): void {
    if (this.isDisposed) {
      return;
    }
    if (this.isActive === this.isHidden) {
      this.setHidden(!this.isActive);
      this._activeChanged.emit();
    }
    this.update();
  }

  private readonly _activeChanged = new Signal<this, void>(this);
}
