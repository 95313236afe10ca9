/**
 * What a slice did in the last minutes, for the sparklines of its card (model.ts keeps one for each slice).
 *
 * The server counts seconds on the GPU and seconds of waiting; from two counts follows which part of the time between
 * them was so spent. Times are in milliseconds of the browser's clock. Bounded: a fixed number of periods.
 */

/** Length of one point of a sparkline. */
export const PERIOD_MS = 2000;
/** Points of a sparkline: three minutes. */
export const PERIODS = 90;
/** After idleness nothing is emitted until work begins, so the work counted next is no older than this. */
const FRESH_MS = 1000;

export class History {
  /** Notes the counters as of now; ``idle``: whether it was idle at the note before. */
  note(nowMs: number, counts: { gpu_s: number; waited_s: number }, idle: boolean): void {
    const last = this.last;
    this.last = { atMs: nowMs, ...counts };
    if (last === undefined) {
      return;
    }
    const sinceMs = idle ? Math.max(last.atMs, nowMs - FRESH_MS) : last.atMs;
    this.spread(this.gpuMs, sinceMs, nowMs, (counts.gpu_s - last.gpu_s) * 1000);
    this.spread(this.waitedMs, sinceMs, nowMs, (counts.waited_s - last.waited_s) * 1000);
    this.forget(nowMs);
  }

  /** Part of each period's time on the GPU, oldest first, from 0 to 1. */
  gpu(nowMs: number): number[] {
    return this.parts(this.gpuMs, nowMs);
  }

  /** Part of each period's time spent waiting, oldest first, from 0 to 1. */
  waited(nowMs: number): number[] {
    return this.parts(this.waitedMs, nowMs);
  }

  /** Whether there is anything to show as of now. */
  isEmpty(nowMs: number): boolean {
    const oldest = period(nowMs) - PERIODS;
    const shown = (sums: Map<number, number>) => [...sums.keys()].some(key => key > oldest);
    return !shown(this.gpuMs) && !shown(this.waitedMs);
  }

  private spread(sums: Map<number, number>, fromMs: number, toMs: number, amountMs: number): void {
    // A restarted daemon counts from 0 again; a slice with several programs may count more than the time.
    const lengthMs = toMs - fromMs;
    if (amountMs <= 0 || lengthMs <= 0) {
      return;
    }
    const part = Math.min(1, amountMs / lengthMs);
    const first = Math.max(period(fromMs), period(toMs) - PERIODS);
    for (let key = first; key <= period(toMs); key++) {
      const overlapMs = Math.min(toMs, (key + 1) * PERIOD_MS) - Math.max(fromMs, key * PERIOD_MS);
      if (overlapMs > 0) {
        sums.set(key, (sums.get(key) ?? 0) + part * overlapMs);
      }
    }
  }

  private parts(sums: Map<number, number>, nowMs: number): number[] {
    const newest = period(nowMs);
    return Array.from({ length: PERIODS }, (_, index) =>
      Math.min(1, (sums.get(newest - PERIODS + 1 + index) ?? 0) / PERIOD_MS)
    );
  }

  private forget(nowMs: number): void {
    const oldest = period(nowMs) - PERIODS;
    for (const sums of [this.gpuMs, this.waitedMs]) {
      for (const key of sums.keys()) {
        if (key <= oldest) {
          sums.delete(key);
        }
      }
    }
  }

  private last: { atMs: number; gpu_s: number; waited_s: number } | undefined;
  private readonly gpuMs = new Map<number, number>();
  private readonly waitedMs = new Map<number, number>();
}

function period(atMs: number): number {
  return Math.floor(atMs / PERIOD_MS);
}
