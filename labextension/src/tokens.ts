/** What the plugins of this extension share, and others may use. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { Token } from '@lumino/coreutils';

import type { CurrentKernel, KernelPlaces } from './kernels';
import type { SliceModel } from './model';
import type { Api } from './requests';
import type { Settings } from './settings';

export const PACKAGE = '@jupyter-tfusion/labextension';
/** The translation domain, and the first part of every id in the page. */
export const DOMAIN = 'jupyter_tfusion';

export interface IVGpu {
  readonly api: Api;
  readonly model: SliceModel;
  readonly places: KernelPlaces;
  readonly current: CurrentKernel;
  readonly settings: Settings;
  readonly trans: TranslationBundle;
}

export const IVGpu = new Token<IVGpu>(
  `${PACKAGE}:IVGpu`,
  'The GPU slices of the kernels of this server, as the sidebar shows them.'
);
