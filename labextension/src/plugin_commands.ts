/** The commands of commands.ts in the application, and in its palette where it has one. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, ISessionContextDialogs } from '@jupyterlab/apputils';
import { IDocumentManager } from '@jupyterlab/docmanager';

import { CommandIds, addCommands } from './commands';
import { IVGpu, PACKAGE } from './tokens';

export const commandsPlugin: JupyterFrontEndPlugin<void> = {
  id: `${PACKAGE}:commands`,
  description: 'Commands that free GPU memory, bring it back and end GPU work.',
  autoStart: true,
  requires: [IVGpu],
  optional: [IDocumentManager, ISessionContextDialogs, ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    vgpu: IVGpu,
    documents: IDocumentManager | null,
    dialogs: ISessionContextDialogs | null,
    palette: ICommandPalette | null
  ) => {
    addCommands(app.commands, { vgpu, documents, dialogs, services: app.serviceManager });
    for (const command of [CommandIds.swapOut, CommandIds.resume, CommandIds.reset]) {
      palette?.addItem({ command, category: vgpu.trans.__('GPU') });
    }
    // What can be done to a slice changes with it.
    const refresh = () => {
      for (const command of [CommandIds.swapOut, CommandIds.resume, CommandIds.reset]) {
        app.commands.notifyCommandChanged(command);
      }
    };
    vgpu.model.changed.connect(refresh);
    vgpu.current.changed.connect(refresh);
  }
};
