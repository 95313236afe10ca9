import { HostModel } from '../src/host_model';
import { sorted } from '../src/host_view';
import { SliceModel } from '../src/model';
import { stripesOf } from '../src/timeline';
import type { ISample } from '../src/wire';

import { MIB, change, gpu, slice, state } from './answers';

describe("the teacher's model", () => {
  let slices: SliceModel;
  let asked: number;
  let timelines: number;
  let host: HostModel;

  beforeEach(async () => {
    jest.useFakeTimers();
    asked = timelines = 0;
    slices = new SliceModel({ fetchState: () => Promise.resolve(state({ serial: 0 })) });
    await slices.resync();
    host = new HostModel(
      {
        host: () => {
          asked += 1;
          return Promise.resolve({ gpus: [gpu()], slices: [slice()] });
        },
        timeline: () => {
          timelines += 1;
          return Promise.resolve({ now_s: 0, slices: [] });
        }
      },
      slices
    );
  });
  afterEach(() => {
    host.dispose();
    jest.useRealTimers();
  });

  it('asks when its view is shown, then at changes, once a second at the most', async () => {
    slices.onEvent(change({ serial: 1, host_changed: true }));
    expect(asked).toBe(0);
    host.isShown = true;
    await jest.advanceTimersByTimeAsync(0);
    expect(asked).toBe(1);
    await jest.advanceTimersByTimeAsync(600_000);
    expect(asked).toBe(1);
    for (let serial = 2; serial < 42; serial++) {
      slices.onEvent(change({ serial, host_changed: true }));
      await jest.advanceTimersByTimeAsync(250);
    }
    expect(asked).toBeGreaterThanOrEqual(9);
    expect(asked).toBeLessThanOrEqual(12);
  });

  it('asks for the timeline more seldom, and once more behind the last change', async () => {
    host.isShown = true;
    await jest.advanceTimersByTimeAsync(0);
    expect(timelines).toBe(1);
    slices.onEvent(change({ serial: 1, host_changed: true }));
    await jest.advanceTimersByTimeAsync(5000);
    expect([asked, timelines]).toEqual([2, 1]);
    await jest.advanceTimersByTimeAsync(600_000);
    expect([asked, timelines]).toEqual([3, 2]);
  });

  it('asks nothing while its view is hidden', async () => {
    host.isShown = true;
    await jest.advanceTimersByTimeAsync(0);
    host.isShown = false;
    slices.onEvent(change({ serial: 1, host_changed: true }));
    await jest.advanceTimersByTimeAsync(60_000);
    expect(asked).toBe(1);
  });
});

describe('the order of slices', () => {
  it('is by what is on the GPU, and as asked', () => {
    const small = slice({
      slice_id: 'a',
      owner: 'zoe',
      resident_bytes: MIB,
      waited_s: 9,
      idle_s: 0,
      gpu_s: 5
    });
    const large = slice({
      slice_id: 'b',
      owner: 'ada',
      resident_bytes: 9 * MIB,
      waited_s: 0,
      idle_s: 8,
      gpu_s: 1
    });
    const first = (order: Parameters<typeof sorted>[1]) => sorted([small, large], order)[0]?.slice_id;
    expect(first('memory')).toBe('b');
    expect(first('gpu')).toBe('a');
    expect(first('waited')).toBe('a');
    expect(first('idle')).toBe('b');
    expect(first('owner')).toBe('b');
  });
});

describe('the timeline', () => {
  const sample = (at_s: number, phase: ISample['phase']): ISample => ({
    at_s,
    phase,
    resident_bytes: 0,
    swapped_bytes: 0
  });
  const row = (samples: ISample[]) => ({ slice_id: 's', name: 'n', owner: 'o', samples });

  it('draws a state until the next one, the last until now', () => {
    expect(stripesOf(row([sample(0, 'idle'), sample(2, 'running'), sample(3, 'running')]), 5)).toEqual([
      { fromS: 0, toS: 2, phase: 'idle' },
      { fromS: 2, toS: 5, phase: 'running' }
    ]);
  });

  it('draws nothing of what has ended', () => {
    expect(stripesOf(row([sample(0, 'running'), sample(2, 'ended')]), 5)).toEqual([
      { fromS: 0, toS: 2, phase: 'running' }
    ]);
  });
});
