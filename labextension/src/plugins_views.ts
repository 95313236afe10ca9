/** What learners see: the panel at the side, the status item, the section of running things, notifications. */
import { ILabShell, ILayoutRestorer } from '@jupyterlab/application';
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IRunningSessionManagers } from '@jupyterlab/running';
import { IStatusBar } from '@jupyterlab/statusbar';

import { CommandIds } from './commands';
import { vgpuIcon } from './icons';
import { showNotice } from './notices';
import { RunningSlices } from './running';
import { Sidebar } from './sidebar';
import { StatusItem } from './status_item';
import { IVGpu, PACKAGE } from './tokens';

/** Behind Jupyter's own panels of files, running things and commands. */
const SIDEBAR_RANK = 320;
/** Before the name of the kernel in Notebook's menu bar. */
const MENU_RANK = 10_005;

export const sidebarPlugin: JupyterFrontEndPlugin<void> = {
  id: `${PACKAGE}:sidebar`,
  description: 'The panel with the GPUs and a card for each kernel that has a slice.',
  autoStart: true,
  requires: [IVGpu],
  optional: [ILayoutRestorer, ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    vgpu: IVGpu,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null
  ) => {
    const sidebar = new Sidebar(vgpu, app.commands);
    app.shell.add(sidebar, 'left', { rank: SIDEBAR_RANK, type: 'GPU' });
    restorer?.add(sidebar, sidebar.id);
    app.commands.addCommand(CommandIds.show, {
      label: vgpu.trans.__('Show GPU Slices'),
      caption: vgpu.trans.__('Show the GPUs and what your kernels do on them'),
      icon: args => (args['isPalette'] === true ? undefined : vgpuIcon),
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () => app.shell.activateById(sidebar.id)
    });
    palette?.addItem({
      command: CommandIds.show,
      category: vgpu.trans.__('GPU'),
      args: { isPalette: true }
    });
  }
};

export const statusPlugin: JupyterFrontEndPlugin<void> = {
  id: `${PACKAGE}:status`,
  description: "The state of the current kernel's slice, in the status bar or beside the kernel's name.",
  autoStart: true,
  requires: [IVGpu],
  optional: [IStatusBar, ILabShell, INotebookTracker],
  activate: (
    app: JupyterFrontEnd,
    vgpu: IVGpu,
    statusBar: IStatusBar | null,
    labShell: ILabShell | null,
    notebooks: INotebookTracker | null
  ) => {
    const item = new StatusItem(vgpu, () => void app.commands.execute(CommandIds.show));
    if (statusBar !== null) {
      statusBar.registerStatusItem(`${PACKAGE}:status`, {
        item,
        align: 'left',
        rank: 5,
        isActive: () => item.isActive,
        activeStateChanged: item.activeChanged
      });
    } else if (labShell === null && notebooks !== null) {
      item.id = 'jp-tfusion-status';
      app.shell.add(item, 'menu', { rank: MENU_RANK });
    }
  }
};

export const runningPlugin: JupyterFrontEndPlugin<void> = {
  id: `${PACKAGE}:running`,
  description: 'The GPU slices among the running kernels and terminals.',
  autoStart: true,
  requires: [IVGpu],
  optional: [IRunningSessionManagers],
  activate: (app: JupyterFrontEnd, vgpu: IVGpu, managers: IRunningSessionManagers | null) => {
    if (managers === null) {
      return;
    }
    void app.restored.then(() => {
      if (vgpu.settings.isOn('runningSection')) {
        managers.add(new RunningSlices(vgpu, app.commands));
      }
    });
  }
};

export const noticesPlugin: JupyterFrontEndPlugin<void> = {
  id: `${PACKAGE}:notices`,
  description: 'Tells before idle GPU work is ended, and when it was ended.',
  autoStart: true,
  requires: [IVGpu],
  activate: (app: JupyterFrontEnd, vgpu: IVGpu) => {
    vgpu.model.noticed.connect((_, notice) => showNotice(notice, vgpu, app.commands));
  }
};
