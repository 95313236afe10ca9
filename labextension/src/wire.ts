/**
 * What the server extension answers and emits, and the checks of it (requests.ts, model.ts).
 *
 * Nothing from the network gets past here unchecked: a field that is missing or of another type is an error of a type
 * of its own, so that a server of another version is a sentence in the panel and not a broken page.
 */

/** A GPU of the host. */
export interface IGpu {
  readonly uuid: string;
  readonly name: string;
  readonly software: boolean;
  readonly memory_bytes: number;
  /** Promised to slices; may be more than the memory. */
  readonly reserved_bytes: number;
  readonly used_bytes: number;
  /** -1: unknown. */
  readonly utilization_percent: number;
  /** Sessions that wait for it now. */
  readonly waiting: number;
}

export const PHASES = [
  'idle',
  'running',
  'waiting',
  'swapping in',
  'swapping out',
  'swapped out',
  'hibernated',
  'ended'
] as const;
export type Phase = (typeof PHASES)[number];

/** A kernel's part of a GPU. */
export interface ISlice {
  readonly slice_id: string;
  readonly kernel_id: string;
  readonly name: string;
  readonly owner: string;
  readonly gpu_uuid: string;
  readonly vram_bytes: number;
  readonly used_bytes: number;
  readonly resident_bytes: number;
  readonly swapped_bytes: number;
  readonly phase: Phase;
  /** Place among those that wait, 1 is next; 0: it does not wait. */
  readonly place: number;
  /** Why it waits or has ended. */
  readonly why: string;
  readonly gpu_s: number;
  readonly waited_s: number;
  readonly sessions: number;
  readonly share: number;
  /** 0: none. */
  readonly ceiling: number;
  readonly age_s: number;
  /** Seconds without work, 0 while it works. */
  readonly idle_s: number;
  /** Seconds until the idle limit ends it, -1: there is no limit. */
  readonly ends_in_s: number;
}

/**
 * A slice as it is some seconds after the server told of it. While nothing happens the server says nothing, so what
 * only time changes is counted on here.
 */
export function aged(slice: ISlice, seconds: number): ISlice {
  const isIdle = slice.idle_s > 0;
  return {
    ...slice,
    age_s: slice.age_s + seconds,
    idle_s: isIdle ? slice.idle_s + seconds : slice.idle_s,
    ends_in_s: isIdle && slice.ends_in_s >= 0 ? Math.max(0, slice.ends_in_s - seconds) : slice.ends_in_s
  };
}

export interface IServer {
  readonly connected: boolean;
  /** Why it is not connected, and what to do. */
  readonly sentence: string;
}

export interface IState {
  readonly server: IServer;
  readonly may_see_host: boolean;
  readonly gpus: readonly IGpu[];
  readonly slices: readonly ISlice[];
  /** Of the newest event that this state contains; undefined from servers that do not count. */
  readonly serial?: number;
}

/** What has changed, data of SLICES_SCHEMA. */
export interface IChange {
  readonly server: IServer;
  readonly gpus: readonly IGpu[];
  readonly slices: readonly ISlice[];
  readonly gone: readonly string[];
  readonly host_changed: boolean;
  readonly serial?: number;
}

/** Data of NOTICES_SCHEMA. */
export interface INotice {
  readonly kernel_id: string;
  readonly slice_id: string;
  readonly kind: 'ended' | 'idle_warning' | 'lost';
  readonly sentence: string;
  readonly what_to_do: string;
}

export interface IHost {
  readonly gpus: readonly IGpu[];
  readonly slices: readonly ISlice[];
}

export interface ISample {
  readonly at_s: number;
  readonly phase: Phase;
  readonly resident_bytes: number;
  readonly swapped_bytes: number;
}

export interface ITimelineRow {
  readonly slice_id: string;
  readonly name: string;
  readonly owner: string;
  readonly samples: readonly ISample[];
}

export interface ITimeline {
  readonly now_s: number;
  readonly slices: readonly ITimelineRow[];
}

export const SLICES_SCHEMA = 'https://schema.jupyter-tfusion.org/slices/v1';
export const NOTICES_SCHEMA = 'https://schema.jupyter-tfusion.org/notices/v1';

/** Something that the server sent is not what this version of the extension knows. */
export class NotUnderstood extends Error {
  constructor(readonly where: string) {
    super(
      `The server's answer is not one that this extension understands (${where}). Server and browser may have ` +
        'different versions: restart the Jupyter server and reload this page.'
    );
    this.name = 'NotUnderstood';
  }
}

type Check<T> = (value: unknown, where: string) => T;

const asString: Check<string> = (value, where) => {
  if (typeof value !== 'string') {
    throw new NotUnderstood(where);
  }
  return value;
};

const asNumber: Check<number> = (value, where) => {
  if (typeof value !== 'number' || !Number.isFinite(value)) {
    throw new NotUnderstood(where);
  }
  return value;
};

const asBoolean: Check<boolean> = (value, where) => {
  if (typeof value !== 'boolean') {
    throw new NotUnderstood(where);
  }
  return value;
};

const asSerial: Check<number | undefined> = (value, where) =>
  value === undefined || value === null ? undefined : asNumber(value, where);

function oneOf<T extends string>(known: readonly T[]): Check<T> {
  return (value, where) => {
    const found = known.find(one => one === value);
    if (found === undefined) {
      throw new NotUnderstood(where);
    }
    return found;
  };
}

function listOf<T>(check: Check<T>): Check<readonly T[]> {
  return (value, where) => {
    if (!Array.isArray(value)) {
      throw new NotUnderstood(where);
    }
    return value.map((one, index) => check(one, `${where}[${index}]`));
  };
}

/** An object with the fields of T; what else it has is left out. */
function record<T>(checks: { [K in keyof T]-?: Check<T[K]> }): Check<T> {
  const names = Object.keys(checks) as (keyof T & string)[];
  return (value, where) => {
    if (typeof value !== 'object' || value === null) {
      throw new NotUnderstood(where);
    }
    const fields = value as Record<string, unknown>;
    const checked = {} as T;
    for (const name of names) {
      checked[name] = checks[name](fields[name], `${where}.${name}`);
    }
    return checked;
  };
}

const asPhase = oneOf(PHASES);

const asGpu = record<IGpu>({
  uuid: asString,
  name: asString,
  software: asBoolean,
  memory_bytes: asNumber,
  reserved_bytes: asNumber,
  used_bytes: asNumber,
  utilization_percent: asNumber,
  waiting: asNumber
});

const asSlice = record<ISlice>({
  slice_id: asString,
  kernel_id: asString,
  name: asString,
  owner: asString,
  gpu_uuid: asString,
  vram_bytes: asNumber,
  used_bytes: asNumber,
  resident_bytes: asNumber,
  swapped_bytes: asNumber,
  phase: asPhase,
  place: asNumber,
  why: asString,
  gpu_s: asNumber,
  waited_s: asNumber,
  sessions: asNumber,
  share: asNumber,
  ceiling: asNumber,
  age_s: asNumber,
  idle_s: asNumber,
  ends_in_s: asNumber
});

const asServer = record<IServer>({ connected: asBoolean, sentence: asString });

export const asState: (value: unknown) => IState = value =>
  record<IState>({
    server: asServer,
    may_see_host: asBoolean,
    gpus: listOf(asGpu),
    slices: listOf(asSlice),
    serial: asSerial
  })(value, 'state');

export const asChange: (value: unknown) => IChange = value =>
  record<IChange>({
    server: asServer,
    gpus: listOf(asGpu),
    slices: listOf(asSlice),
    gone: listOf(asString),
    host_changed: asBoolean,
    serial: asSerial
  })(value, 'event');

export const asNotice: (value: unknown) => INotice = value =>
  record<INotice>({
    kernel_id: asString,
    slice_id: asString,
    kind: oneOf(['ended', 'idle_warning', 'lost']),
    sentence: asString,
    what_to_do: asString
  })(value, 'notice');

export const asHost: (value: unknown) => IHost = value =>
  record<IHost>({ gpus: listOf(asGpu), slices: listOf(asSlice) })(value, 'host');

export const asTimeline: (value: unknown) => ITimeline = value =>
  record<ITimeline>({
    now_s: asNumber,
    slices: listOf(
      record<ITimelineRow>({
        slice_id: asString,
        name: asString,
        owner: asString,
        samples: listOf(
          record<ISample>({
            at_s: asNumber,
            phase: asPhase,
            resident_bytes: asNumber,
            swapped_bytes: asNumber
          })
        )
      })
    )
  })(value, 'timeline');
