/**
 * The one owner of what is known about GPUs and slices; every view is a picture of it.
 *
 * First `GET state`, then the events of the server, which only come when something changes. Nothing is asked in
 * between. What must hold: an event that was missed is noticed (by its serial, by a failing connection, by a page that
 * was hidden) and mended by asking for the state again; while the server does not answer, the questions come ever more
 * seldom.
 */
import { Signal } from '@lumino/signaling';
import type { ISignal } from '@lumino/signaling';

import { History } from './history';
import { NotInstalled } from './requests';
import { NOTICES_SCHEMA, NotUnderstood, SLICES_SCHEMA, aged, asChange, asNotice } from './wire';
import type { IChange, IGpu, INotice, IServer, ISlice, IState } from './wire';

/** First wait before asking again after a failure; doubled each time. */
const RETRY_MS = 1000;
const RETRY_MOST_MS = 60_000;
/** After an outage Jupyter's event stream is back within half a minute, and does not say when. */
const STREAM_BACK_MS = 45_000;
/** An event may arrive behind a state that contains it already, by as many places at the most. */
const LATE_SERIALS = 100;

/** A slice as the server told of it, and when. */
interface IKnown {
  readonly slice: ISlice;
  readonly atMs: number;
  /** When it was opened, as it was first told: the order of the cards. */
  readonly bornMs: number;
}

/** An event of Jupyter's stream, as far as we look at it. */
export interface IEmission {
  readonly schema_id: string;
}

export interface IModelOptions {
  /** Asks the server for everything. */
  readonly fetchState: () => Promise<IState>;
  /** Milliseconds; Date.now() unless a test says otherwise. */
  readonly now?: () => number;
}

export class SliceModel {
  constructor(private readonly options: IModelOptions) {
    this.now = options.now ?? Date.now;
  }

  /** Something that a view shows has changed. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** The server has something to tell the learner. */
  get noticed(): ISignal<this, INotice> {
    return this._noticed;
  }

  /** Slices of other people have changed (only told to those with the right to see them). */
  get hostChanged(): ISignal<this, void> {
    return this._hostChanged;
  }

  /** Whether a state has been seen at all. */
  get isLoaded(): boolean {
    return this._isLoaded;
  }

  /** Why what is shown may be out of date; empty if it is not. */
  get problem(): string {
    return this._problem;
  }

  get server(): IServer {
    return this._server;
  }

  get maySeeHost(): boolean {
    return this._maySeeHost;
  }

  get gpus(): readonly IGpu[] {
    return this._gpus;
  }

  /** As of now, the oldest first, so that a card keeps its place. */
  get slices(): readonly ISlice[] {
    return [...this._slices.values()]
      .sort((a, b) => a.bornMs - b.bornMs || a.slice.slice_id.localeCompare(b.slice.slice_id))
      .map(known => this.asOfNow(known));
  }

  sliceOf(kernelId: string | undefined): ISlice | undefined {
    if (kernelId === undefined) {
      return undefined;
    }
    // A kernel whose slice has ended and that got another one has both for a moment.
    const all = this.slices.filter(slice => slice.kernel_id === kernelId);
    return all.find(slice => slice.phase !== 'ended') ?? all[0];
  }

  historyOf(slice: ISlice): History {
    let history = this._histories.get(slice.slice_id);
    if (history === undefined) {
      history = new History();
      this._histories.set(slice.slice_id, history);
    }
    return history;
  }

  /** Takes an event of Jupyter's stream; others than ours are none of our business. */
  onEvent(emission: IEmission): void {
    if (this._isDisposed) {
      return;
    }
    try {
      if (emission.schema_id === NOTICES_SCHEMA) {
        this._noticed.emit(asNotice(emission));
      } else if (emission.schema_id === SLICES_SCHEMA) {
        const change = asChange(emission);
        if (this._fetching) {
          this._meanwhile.push(change);
        } else {
          this.follow(change);
        }
      }
    } catch (error) {
      if (!(error instanceof NotUnderstood)) {
        throw error;
      }
      // What it told of is asked for instead, and with every such event more seldom.
      if (this._timer === undefined && !this._fetching) {
        this.askIn(this._doubtMs);
        this._doubtMs = Math.min(this._doubtMs * 2, RETRY_MOST_MS);
      }
    }
  }

  /** Asks for the whole state now; at the start, and whenever events may have been missed. Never rejects. */
  async resync(): Promise<void> {
    if (this._isDisposed) {
      return;
    }
    if (this._fetching) {
      this._askAgain = true;
      return;
    }
    this.stopTimer();
    this._fetching = true;
    try {
      const state = await this.options.fetchState();
      this._fetching = false;
      this.take(state);
    } catch (error) {
      this._fetching = false;
      this.fail(error);
    }
    if (this._askAgain) {
      this._askAgain = false;
      await this.resync();
    }
  }

  /** The connection to the Jupyter server was seen to fail. */
  onConnectionFailure(): void {
    this._wasOut = true;
    if (this._timer === undefined && !this._fetching) {
      void this.resync();
    }
  }

  dispose(): void {
    this._isDisposed = true;
    this.stopTimer();
    Signal.clearData(this);
  }

  private take(state: IState): void {
    if (this._isDisposed) {
      return;
    }
    this._isLoaded = true;
    this._problem = '';
    this._retryMs = RETRY_MS;
    this._serial = state.serial;
    this._server = state.server;
    this._maySeeHost = state.may_see_host;
    this._gpus = state.gpus;
    const known = new Set(state.slices.map(slice => slice.slice_id));
    for (const sliceId of [...this._slices.keys()].filter(one => !known.has(one))) {
      this.remove(sliceId);
    }
    state.slices.forEach(slice => this.put(slice));
    const meanwhile = this._meanwhile;
    this._meanwhile = [];
    for (const change of meanwhile) {
      if (change.serial === undefined || state.serial === undefined || change.serial > state.serial) {
        this.apply(change);
      }
    }
    if (this._wasOut) {
      this._wasOut = false;
      this._lookAgainMs = this.now() + STREAM_BACK_MS;
    }
    // Also where something else made us ask meanwhile: that may have been before the stream was back.
    const waitMs = this._lookAgainMs - this.now();
    if (waitMs > 0) {
      this.askIn(waitMs);
    }
    this._changed.emit();
    this._hostChanged.emit();
  }

  private fail(error: unknown): void {
    if (this._isDisposed) {
      return;
    }
    this._problem = error instanceof Error ? error.message : String(error);
    this._meanwhile.splice(0).forEach(change => this.apply(change));
    this._wasOut = true;
    // An extension that is not there does not come without a restart of the server, and that is a failure to see. One
    // that was there is only hidden, by a proxy whose server is away.
    if (!(error instanceof NotInstalled) || this._isLoaded) {
      this.askIn(this._retryMs * (0.75 + Math.random() / 2));
      this._retryMs = Math.min(this._retryMs * 2, RETRY_MOST_MS);
    }
    this._changed.emit();
  }

  private follow(change: IChange): void {
    const { serial } = change;
    const last = this._serial;
    if (serial !== undefined && last !== undefined && serial <= last && last - serial < LATE_SERIALS) {
      return;
    }
    this.apply(change);
    this._changed.emit();
    if (serial !== undefined && last !== undefined && serial !== last + 1) {
      void this.resync();
    }
  }

  private apply(change: IChange): void {
    this._serial = change.serial;
    this._server = change.server;
    this._gpus = change.gpus;
    change.slices.forEach(slice => this.put(slice));
    change.gone.forEach(sliceId => this.remove(sliceId));
    if (change.host_changed) {
      this._hostChanged.emit();
    }
  }

  private put(slice: ISlice): void {
    const before = this._slices.get(slice.slice_id);
    const atMs = this.now();
    this.historyOf(slice).note(atMs, slice, before?.slice.phase === 'idle');
    const bornMs = before?.bornMs ?? atMs - slice.age_s * 1000;
    this._slices.set(slice.slice_id, { slice, atMs, bornMs });
  }

  private asOfNow(known: IKnown): ISlice {
    return aged(known.slice, Math.max(0, this.now() - known.atMs) / 1000);
  }

  private remove(sliceId: string): void {
    this._slices.delete(sliceId);
    this._histories.delete(sliceId);
  }

  private askIn(delayMs: number): void {
    this.stopTimer();
    this._timer = setTimeout(() => {
      this._timer = undefined;
      void this.resync();
    }, delayMs);
  }

  private stopTimer(): void {
    clearTimeout(this._timer);
    this._timer = undefined;
  }

  private readonly now: () => number;
  private readonly _changed = new Signal<this, void>(this);
  private readonly _noticed = new Signal<this, INotice>(this);
  private readonly _hostChanged = new Signal<this, void>(this);
  private readonly _slices = new Map<string, IKnown>();
  private readonly _histories = new Map<string, History>();
  private _gpus: readonly IGpu[] = [];
  private _server: IServer = { connected: false, sentence: '' };
  private _maySeeHost = false;
  private _isLoaded = false;
  private _isDisposed = false;
  private _problem = '';
  private _serial: number | undefined;
  private _fetching = false;
  private _askAgain = false;
  private _meanwhile: IChange[] = [];
  private _wasOut = false;
  private _lookAgainMs = 0;
  private _retryMs = RETRY_MS;
  private _doubtMs = RETRY_MS;
  private _timer: ReturnType<typeof setTimeout> | undefined;
}
