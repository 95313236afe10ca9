/** Answers as the server extension gives them, for the tests of what is made of them. */
import type { IChange, IGpu, ISlice, IState } from '../src/wire';

export const MIB = 1024 * 1024;

export function gpu(fields: Partial<IGpu> = {}): IGpu {
  return {
    uuid: 'GPU-1',
    name: 'Software GPU (tfusion)',
    software: true,
    memory_bytes: 1024 * MIB,
    reserved_bytes: 512 * MIB,
    used_bytes: 256 * MIB,
    utilization_percent: 50,
    waiting: 0,
    ...fields
  };
}

export function slice(fields: Partial<ISlice> = {}): ISlice {
  return {
    slice_id: 's1',
    kernel_id: 'k1',
    name: 'lab.ipynb',
    owner: 'ada',
    gpu_uuid: 'GPU-1',
    vram_bytes: 256 * MIB,
    used_bytes: 128 * MIB,
    resident_bytes: 128 * MIB,
    swapped_bytes: 0,
    phase: 'idle',
    place: 0,
    why: '',
    gpu_s: 1,
    waited_s: 0,
    sessions: 1,
    share: 1,
    ceiling: 0,
    age_s: 10,
    idle_s: 3,
    ends_in_s: -1,
    ...fields
  };
}

export function state(fields: Partial<IState> = {}): IState {
  return {
    server: { connected: true, sentence: '' },
    may_see_host: false,
    gpus: [gpu()],
    slices: [slice()],
    ...fields
  };
}

export function change(fields: Partial<IChange> = {}): IChange & { schema_id: string } {
  return {
    schema_id: 'https://schema.jupyter-tfusion.org/slices/v1',
    server: { connected: true, sentence: '' },
    gpus: [gpu()],
    slices: [],
    gone: [],
    host_changed: false,
    ...fields
  };
}
