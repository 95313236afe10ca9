/** Notices of the server as notifications: before the idle limit ends something, and when something was ended. */
import { Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import type { CommandRegistry } from '@lumino/commands';

import { CommandIds } from './commands';
import type { IVGpu } from './tokens';
import type { INotice } from './wire';

/** Notifications are cut at this length; what is longer can be read in a dialog. */
const MOST_CHARACTERS = 140;

export function showNotice(notice: INotice, vgpu: IVGpu, commands: CommandRegistry): void {
  const { settings, places, trans } = vgpu;
  const isWarning = notice.kind === 'idle_warning';
  if (!settings.isOn(isWarning ? 'idleWarnings' : 'endNotices')) {
    return;
  }
  const place = places.placeOf(notice.kernel_id);
  const name = place?.name ?? trans.__('A kernel');
  const whole = [`${name}: ${notice.sentence}`, notice.what_to_do].filter(part => part !== '').join(' ');
  const actions: Notification.IAction[] = [];
  if (whole.length > MOST_CHARACTERS) {
    actions.push({
      label: trans.__('Read more'),
      callback: event => {
        event.preventDefault();
        void showDialog({
          title: trans.__('The GPU work of %1', name),
          body: whole,
          buttons: [Dialog.okButton()]
        });
      }
    });
  }
  if (place !== undefined) {
    actions.push({
      label: trans.__('Open'),
      callback: () => void commands.execute(CommandIds.openNotebook, { kernelId: notice.kernel_id })
    });
  }
  if (!isWarning) {
    actions.push({
      label: trans.__('Restart kernel'),
      callback: () => void commands.execute(CommandIds.restartKernel, { kernelId: notice.kernel_id })
    });
  }
  const options = { autoClose: false as const, actions };
  if (isWarning) {
    Notification.warning(whole, options);
  } else {
    Notification.error(whole, options);
  }
}
