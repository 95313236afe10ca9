/** The teacher's view, for those whom the server gives the right; nobody else sees that there is one. */
import { ILabShell, ILayoutRestorer } from '@jupyterlab/application';
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import { ILauncher } from '@jupyterlab/launcher';

import { CommandIds } from './commands';
import { HostView } from './host_view';
import { vgpuIcon } from './icons';
import { IVGpu, PACKAGE } from './tokens';

export const hostPlugin: JupyterFrontEndPlugin<void> = {
  id: `${PACKAGE}:host`,
  description: 'All GPU slices of the host, for teachers.',
  autoStart: true,
  requires: [IVGpu],
  optional: [ILabShell, ILauncher, ICommandPalette, ILayoutRestorer],
  activate: (
    app: JupyterFrontEnd,
    vgpu: IVGpu,
    labShell: ILabShell | null,
    launcher: ILauncher | null,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null
  ) => {
    const { trans, model } = vgpu;
    const tracker = new WidgetTracker<MainAreaWidget<HostView>>({ namespace: 'tfusion-host' });
    app.commands.addCommand(CommandIds.openHost, {
      label: args =>
        args['isLauncher'] === true ? trans.__('GPU of this host') : trans.__('Show All GPU Slices'),
      caption: trans.__('Who uses the GPUs of this host, and how to help'),
      icon: args => (args['isPalette'] === true ? undefined : vgpuIcon),
      isEnabled: () => model.maySeeHost,
      isVisible: () => model.maySeeHost,
      describedBy: { args: { type: 'object', properties: {} } },
      execute: async () => {
        let widget = tracker.find(() => true);
        if (widget === undefined || widget.isDisposed) {
          const content = new HostView(vgpu, app.commands);
          widget = new MainAreaWidget({ content });
          widget.id = `${content.id}-area`;
          // Notebook's main area holds its one document; there is room at the side.
          app.shell.add(widget, labShell === null ? 'right' : 'main');
          await tracker.add(widget);
        }
        app.shell.activateById(widget.id);
      }
    });
    void restorer?.restore(tracker, { command: CommandIds.openHost, name: () => 'host' });

    let isOffered = false;
    const offer = () => {
      app.commands.notifyCommandChanged(CommandIds.openHost);
      if (model.maySeeHost && !isOffered) {
        isOffered = true;
        palette?.addItem({
          command: CommandIds.openHost,
          category: trans.__('GPU'),
          args: { isPalette: true }
        });
        launcher?.add({
          command: CommandIds.openHost,
          category: trans.__('Other'),
          args: { isLauncher: true }
        });
      }
    };
    model.changed.connect(() => {
      if (model.maySeeHost !== isOffered) {
        offer();
      }
    });
  }
};
