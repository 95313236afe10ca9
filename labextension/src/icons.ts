/** The extension's own pictures. */
import { LabIcon } from '@jupyterlab/ui-components';

import vgpu from '../style/icons/vgpu.svg';

export const vgpuIcon = new LabIcon({ name: 'jupyter-tfusion:vgpu', svgstr: vgpu });
