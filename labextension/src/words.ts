/** Sizes, times and states in the words that people read; used by every view. */
import type { TranslationBundle } from '@jupyterlab/translation';

import type { IGpu, ISlice } from './wire';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** "512 MiB", "1.5 GiB": three digits at most, as the kernels' names have them. */
export function formatBytes(bytes: number): string {
  let amount = Math.max(0, bytes);
  let unit = 0;
  while (amount >= 1024 && unit < UNITS.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || amount >= 100 || Number.isInteger(amount) ? 0 : 1;
  return `${amount.toFixed(digits).replace(/\.0$/, '')} ${UNITS[unit] ?? ''}`;
}

/** "0.4 s", "12 s", "3 min", "2 h 5 min". */
export function formatSeconds(seconds: number, trans: TranslationBundle): string {
  if (seconds < 10) {
    return trans.__('%1\u00a0s', Math.max(0, seconds).toFixed(1).replace(/\.0$/, ''));
  }
  if (seconds < 120) {
    return trans.__('%1\u00a0s', Math.round(seconds));
  }
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) {
    return trans.__('%1\u00a0min', minutes);
  }
  const rest = minutes % 60;
  const hours = Math.floor(minutes / 60);
  return rest === 0 ? trans.__('%1\u00a0h', hours) : trans.__('%1\u00a0h %2\u00a0min', hours, rest);
}

/** What a slice does, in a few words. */
export function stateOf(slice: ISlice, trans: TranslationBundle): string {
  switch (slice.phase) {
    case 'running':
      return trans.__('running');
    case 'waiting':
      if (slice.place > 1) {
        return trans.__('waiting: place %1', slice.place);
      }
      return slice.place === 1 ? trans.__('waiting: next') : trans.__('waiting');
    case 'swapping in':
      return trans.__('coming back to the GPU: %1\u00a0%', percentBack(slice));
    case 'swapping out':
      return trans.__('leaving the GPU');
    case 'swapped out':
      return trans.__('swapped out');
    case 'hibernated':
      return trans.__('hibernated');
    case 'ended':
      return trans.__('ended');
    case 'idle':
      return slice.sessions === 0 ? trans.__('not used yet') : trans.__('idle');
  }
}

/** The sentence below the state: why it is so, or what it means; empty where there is nothing to say. */
export function explanationOf(slice: ISlice, trans: TranslationBundle): string {
  if (slice.why !== '') {
    return slice.why;
  }
  switch (slice.phase) {
    case 'swapped out':
      return trans.__("Its data lie in the computer's memory. They come back when the next cell needs them.");
    case 'hibernated':
      return trans.__('It has left the GPU altogether. The next cell that needs the GPU brings it back.');
    case 'ended':
      return trans.__('Restart the kernel to use the GPU again.');
    case 'waiting':
      return trans.__('Others compute on the GPU now. It goes on by itself.');
    default:
      return '';
  }
}

/** How much of what it holds is on the GPU (again), in percent. */
export function percentBack(slice: ISlice): number {
  const all = slice.resident_bytes + slice.swapped_bytes;
  return all === 0 ? 100 : Math.floor((100 * slice.resident_bytes) / all);
}

/** "1.2 GiB of 4 GiB used, 512 MiB of it swapped out". */
export function memoryOf(slice: ISlice, trans: TranslationBundle): string {
  const used = formatBytes(slice.used_bytes);
  const limit = formatBytes(slice.vram_bytes);
  return slice.swapped_bytes > 0
    ? trans.__('%1 of %2 used, %3 of it swapped out', used, limit, formatBytes(slice.swapped_bytes))
    : trans.__('%1 of %2 used', used, limit);
}

/** Who waits for a GPU. */
export function queueOf(gpu: IGpu, trans: TranslationBundle): string {
  return gpu.waiting === 0
    ? trans.__('Nobody waits.')
    : trans._n('%1 program waits.', '%1 programs wait.', gpu.waiting, gpu.waiting);
}

/** The warning of the idle limit; empty while it is far or there is none. */
export function idleLimitOf(slice: ISlice, trans: TranslationBundle): string {
  if (slice.ends_in_s < 0 || slice.phase === 'ended' || slice.idle_s === 0 || slice.ends_in_s > 900) {
    return '';
  }
  return trans.__(
    'Its GPU work ends in %1 if no cell uses the GPU until then.',
    formatSeconds(slice.ends_in_s, trans)
  );
}
