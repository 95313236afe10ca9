/** The model of slices, kept up to date while the page lives; the other plugins show it. */
import { ILabShell } from '@jupyterlab/application';
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import type { Widget } from '@lumino/widgets';
import { Signal } from '@lumino/signaling';
import type { ISignal } from '@lumino/signaling';

import { CurrentKernel, KernelPlaces } from './kernels';
import { SliceModel } from './model';
import { Api } from './requests';
import { Settings } from './settings';
import { DOMAIN, IVGpu, PACKAGE } from './tokens';

const ID = `${PACKAGE}:plugin`;

export const corePlugin: JupyterFrontEndPlugin<IVGpu> = {
  id: ID,
  description: 'Knows the GPU slices of the kernels of this server.',
  autoStart: true,
  provides: IVGpu,
  optional: [ILabShell, INotebookTracker, ISettingRegistry, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    labShell: ILabShell | null,
    notebooks: INotebookTracker | null,
    registry: ISettingRegistry | null,
    translator: ITranslator | null
  ): IVGpu => {
    const { events, kernels, sessions, serverSettings } = app.serviceManager;
    const api = new Api(serverSettings);
    const model = new SliceModel({ fetchState: () => api.state() });
    const settings = new Settings();
    events.stream.connect((_, emission) => model.onEvent(emission));
    // Jupyter asks for its kernels now and then; where that fails, so did the events.
    kernels.connectionFailure.connect(() => model.onConnectionFailure());
    // While a page is hidden, a closed event stream stays closed.
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') {
        void model.resync();
      }
    });
    void model.resync();
    registry?.load(ID).then(
      loaded => settings.follow(loaded),
      (error: unknown) => console.warn('jupyter-tfusion: the settings could not be read', error)
    );
    return {
      api,
      model,
      settings,
      places: new KernelPlaces(sessions),
      current: new CurrentKernel(currentSource(labShell, notebooks)),
      trans: (translator ?? nullTranslator).load(DOMAIN)
    };
  }
};

/** Lab has many widgets and says which is in front; Notebook has one notebook. */
function currentSource(
  labShell: ILabShell | null,
  notebooks: INotebookTracker | null
): { current: () => Widget | null; changed: ISignal<unknown, unknown> } {
  if (labShell !== null) {
    return { current: () => labShell.currentWidget, changed: labShell.currentChanged };
  }
  if (notebooks !== null) {
    return { current: () => notebooks.currentWidget, changed: notebooks.currentChanged };
  }
  return { current: () => null, changed: new Signal<object, void>({}) };
}
