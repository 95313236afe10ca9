/** The GPUs that the slices are parts of: free memory, who waits (sidebar.tsx, host_view.tsx). */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { UsedBar } from './chart';
import type { IGpu } from './wire';
import { formatBytes, queueOf } from './words';

export function Pool(props: { gpus: readonly IGpu[]; trans: TranslationBundle }): React.JSX.Element {
  return (
    <ul className="jp-tfusion-pool">
      {props.gpus.map(gpu => (
        <PoolGpu key={gpu.uuid} gpu={gpu} trans={props.trans} />
      ))}
    </ul>
  );
}

function PoolGpu(props: { gpu: IGpu; trans: TranslationBundle }): React.JSX.Element {
  const { gpu, trans } = props;
  const total = formatBytes(gpu.memory_bytes);
  const free = trans.__('%1 of %2 free', formatBytes(gpu.memory_bytes - gpu.used_bytes), total);
  const promised = trans.__('%1 promised to slices.', formatBytes(gpu.reserved_bytes));
  return (
    <li className="jp-tfusion-gpu" data-waiting={gpu.waiting > 0}>
      <p className="jp-tfusion-gpu-name">{gpu.name}</p>
      <UsedBar
        used={gpu.used_bytes}
        total={gpu.memory_bytes}
        label={trans.__('Memory of %1', gpu.name)}
        text={free}
      />
      <p className="jp-tfusion-memory">
        {free}
        {gpu.utilization_percent >= 0 && trans.__(', %1\u00a0% busy', Math.round(gpu.utilization_percent))}
      </p>
      <p className="jp-tfusion-queue">
        {queueOf(gpu, trans)} {promised}
      </p>
    </li>
  );
}
