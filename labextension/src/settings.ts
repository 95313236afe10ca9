/** The user's choices (schema/plugin.json), with their defaults while the registry has not answered or is missing. */
import type { ISettingRegistry } from '@jupyterlab/settingregistry';
import { Signal } from '@lumino/signaling';
import type { ISignal } from '@lumino/signaling';

export type Choice = 'statusItem' | 'runningSection' | 'idleWarnings' | 'endNotices';

export class Settings {
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Every choice is on unless the user has turned it off. */
  isOn(choice: Choice): boolean {
    return this.settings?.composite[choice] !== false;
  }

  follow(settings: ISettingRegistry.ISettings): void {
    this.settings = settings;
    settings.changed.connect(() => this._changed.emit());
    this._changed.emit();
  }

  private settings: ISettingRegistry.ISettings | undefined;
  private readonly _changed = new Signal<this, void>(this);
}
