import { History, PERIODS, PERIOD_MS } from '../src/history';

const START = 1_000 * PERIOD_MS;
const sum = (parts: number[]) => (parts.reduce((a, b) => a + b, 0) * PERIOD_MS) / 1000;

describe('the history of a slice', () => {
  it('is empty at first, and while nothing is counted', () => {
    const history = new History();
    history.note(START, { gpu_s: 7, waited_s: 3 }, false);
    history.note(START + 4000, { gpu_s: 7, waited_s: 3 }, false);
    expect(history.isEmpty(START + 4000)).toBe(true);
  });

  it('spreads what was counted over the time between two counts', () => {
    const history = new History();
    history.note(START, { gpu_s: 0, waited_s: 0 }, false);
    history.note(START + 10 * PERIOD_MS, { gpu_s: 5, waited_s: 2 }, false);
    const now = START + 10 * PERIOD_MS;
    expect(sum(history.gpu(now))).toBeCloseTo(5);
    expect(sum(history.waited(now))).toBeCloseTo(2);
    expect(history.gpu(now).at(-2)).toBeCloseTo(0.25);
  });

  it('counts work after idleness to the last second', () => {
    const history = new History();
    history.note(START, { gpu_s: 0, waited_s: 0 }, false);
    const now = START + 60_000 - 1;
    history.note(now, { gpu_s: 0.5, waited_s: 0 }, true);
    expect(
      history
        .gpu(now)
        .slice(0, -1)
        .every(part => part === 0)
    ).toBe(true);
    expect(sum(history.gpu(now))).toBeCloseTo(0.5);
  });

  it('never shows more than the whole time, and nothing of counters that began anew', () => {
    const history = new History();
    history.note(START, { gpu_s: 100, waited_s: 0 }, false);
    history.note(START + PERIOD_MS, { gpu_s: 900, waited_s: 0 }, false);
    expect(Math.max(...history.gpu(START + PERIOD_MS))).toBe(1);
    history.note(START + 2 * PERIOD_MS, { gpu_s: 1, waited_s: 0 }, false);
    expect(history.gpu(START + 2 * PERIOD_MS).at(-2)).toBe(0);
  });

  it('forgets what is too old to be shown', () => {
    const history = new History();
    for (let index = 0; index < 10 * PERIODS; index++) {
      history.note(START + index * PERIOD_MS, { gpu_s: index, waited_s: index }, false);
    }
    const now = START + 10 * PERIODS * PERIOD_MS;
    expect(history.gpu(now)).toHaveLength(PERIODS);
    expect(history.isEmpty(now)).toBe(false);
    expect(history.isEmpty(now + 2 * PERIODS * PERIOD_MS)).toBe(true);
    const kept = (history as unknown as { gpuMs: Map<number, number> }).gpuMs.size;
    expect(kept).toBeLessThanOrEqual(PERIODS + 1);
  });
});
