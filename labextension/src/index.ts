/** The plugins of this extension, one for each feature; each works without those it does not require. */
import type { JupyterFrontEndPlugin } from '@jupyterlab/application';

import { commandsPlugin } from './plugin_commands';
import { hostPlugin } from './plugin_host';
import { corePlugin } from './plugin_core';
import { noticesPlugin, runningPlugin, sidebarPlugin, statusPlugin } from './plugins_views';

const plugins: JupyterFrontEndPlugin<unknown>[] = [
  corePlugin,
  commandsPlugin,
  sidebarPlugin,
  statusPlugin,
  runningPlugin,
  noticesPlugin,
  hostPlugin
];

export default plugins;
export { IVGpu } from './tokens';
