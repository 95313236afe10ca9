/**
 * What everybody on this host does, for those with the right to see it. Alive only while its view is shown: fetched
 * when it opens and when the server says that something has changed, once a second at the most; the timeline, which is
 * large, every ten seconds.
 */
import { Signal } from '@lumino/signaling';
import type { ISignal } from '@lumino/signaling';

import type { SliceModel } from './model';
import { aged } from './wire';
import type { IHost, ITimeline } from './wire';

const LEAST_MS = 1000;
const TIMELINE_LEAST_MS = 10_000;

export interface IHostSource {
  host(): Promise<IHost>;
  timeline(): Promise<ITimeline>;
}

export class HostModel {
  constructor(
    private readonly source: IHostSource,
    private readonly slices: SliceModel
  ) {}

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** As of now. */
  get host(): IHost | undefined {
    const seconds = Math.max(0, Date.now() - this.hostMs) / 1000;
    return this._host && { ...this._host, slices: this._host.slices.map(slice => aged(slice, seconds)) };
  }

  get timeline(): ITimeline | undefined {
    return this._timeline;
  }

  /** Why what is shown may be out of date; empty if it is not. */
  get problem(): string {
    return this._problem;
  }

  /** Whether the view is seen; nothing is fetched while it is not. */
  set isShown(isShown: boolean) {
    if (isShown === this._isShown) {
      return;
    }
    this._isShown = isShown;
    if (isShown) {
      this.slices.hostChanged.connect(this.onHostChanged, this);
      void this.fetch();
    } else {
      this.slices.hostChanged.disconnect(this.onHostChanged, this);
      clearTimeout(this.timer);
      this.timer = undefined;
    }
  }

  dispose(): void {
    this.isShown = false;
    Signal.clearData(this);
  }

  private onHostChanged(): void {
    if (this.isFetching) {
      this.askAgain = true;
    } else {
      this.askIn(this.fetchedMs + LEAST_MS - Date.now());
    }
  }

  /** In place of the moment that was chosen before. */
  private askIn(delayMs: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(
      () => {
        this.timer = undefined;
        void this.fetch();
      },
      Math.max(0, delayMs)
    );
  }

  private async fetch(): Promise<void> {
    this.isFetching = true;
    try {
      this._host = await this.source.host();
      this.hostMs = Date.now();
      if (this.hostMs - this.timelineMs >= TIMELINE_LEAST_MS) {
        this._timeline = await this.source.timeline();
        this.timelineMs = this.hostMs;
      }
      this._problem = '';
    } catch (error) {
      // The model of one's own slices asks again when the server is back, and then says that the host has changed.
      this._problem = error instanceof Error ? error.message : String(error);
    }
    this.isFetching = false;
    this.fetchedMs = Date.now();
    this._changed.emit();
    if (this.askAgain && this._isShown) {
      this.askAgain = false;
      this.onHostChanged();
    } else if (this._isShown && this.timelineMs < this.hostMs) {
      // The last change belongs into the timeline, too.
      this.askIn(this.timelineMs + TIMELINE_LEAST_MS - Date.now());
    }
  }

  private readonly _changed = new Signal<this, void>(this);
  private _host: IHost | undefined;
  private _timeline: ITimeline | undefined;
  private _problem = '';
  private _isShown = false;
  private isFetching = false;
  private askAgain = false;
  private fetchedMs = 0;
  private hostMs = 0;
  private timelineMs = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
}
