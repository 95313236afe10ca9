import { SliceModel } from '../src/model';
import { NotInstalled, Unreachable } from '../src/requests';
import type { INotice, IState } from '../src/wire';

import { change, gpu, slice, state } from './answers';

/** A server of which a test says when and what it answers. */
class Answers {
  asked = 0;
  next: () => Promise<IState> = () => Promise.resolve(state({ serial: 1 }));
  readonly fetchState = (): Promise<IState> => {
    this.asked += 1;
    return this.next();
  };
}

describe('the model', () => {
  let server: Answers;
  let model: SliceModel;
  let changes: number;

  beforeEach(() => {
    jest.useFakeTimers();
    server = new Answers();
    model = new SliceModel({ fetchState: server.fetchState });
    changes = 0;
    model.changed.connect(() => (changes += 1));
  });
  afterEach(() => {
    model.dispose();
    jest.useRealTimers();
  });

  it('asks once, then only listens', async () => {
    await model.resync();
    expect(model.isLoaded).toBe(true);
    expect(model.slices.map(one => one.slice_id)).toEqual(['s1']);
    model.onEvent(change({ serial: 2, slices: [slice({ phase: 'running' })] }));
    expect(model.sliceOf('k1')?.phase).toBe('running');
    await jest.advanceTimersByTimeAsync(3_600_000);
    expect(server.asked).toBe(1);
    expect(changes).toBe(2);
  });

  it('adds and removes slices as events say, and forgets their history', async () => {
    await model.resync();
    model.onEvent(change({ serial: 2, slices: [slice({ slice_id: 's2', kernel_id: 'k2' })], gone: ['s1'] }));
    expect(model.slices.map(one => one.slice_id)).toEqual(['s2']);
    expect((model as unknown as { _histories: Map<string, unknown> })._histories.size).toBe(1);
  });

  it('does not care for the events of others', async () => {
    await model.resync();
    model.onEvent({ schema_id: 'https://events.jupyter.org/kernel_actions/v1' });
    expect(changes).toBe(1);
  });

  it('asks again when an event was missed', async () => {
    await model.resync();
    server.next = () => Promise.resolve(state({ serial: 4, slices: [slice({ phase: 'waiting' })] }));
    model.onEvent(change({ serial: 4 }));
    await jest.advanceTimersByTimeAsync(0);
    expect(server.asked).toBe(2);
    expect(model.sliceOf('k1')?.phase).toBe('waiting');
  });

  it('notices a server that was restarted by the numbers of its events', async () => {
    server.next = () => Promise.resolve(state({ serial: 1_000_050 }));
    await model.resync();
    server.next = () => Promise.resolve(state({ serial: 1_060_000, slices: [] }));
    model.onEvent(change({ serial: 1_060_000 }));
    await jest.advanceTimersByTimeAsync(0);
    expect(server.asked).toBe(2);
    expect(model.slices).toHaveLength(0);
  });

  it('looks again when the stream is back, whatever else made it ask meanwhile', async () => {
    await model.resync();
    model.onConnectionFailure();
    await jest.advanceTimersByTimeAsync(20_000);
    await model.resync(); // the page was looked at
    const asked = server.asked;
    await jest.advanceTimersByTimeAsync(30_000);
    expect(server.asked).toBe(asked + 1);
    await jest.advanceTimersByTimeAsync(3_600_000);
    expect(server.asked).toBe(asked + 1);
  });

  it('asks on when an extension that was there is hidden by a proxy', async () => {
    await model.resync();
    server.next = () => Promise.reject(new NotInstalled());
    await model.resync();
    expect(model.problem).not.toBe('');
    server.next = () => Promise.resolve(state({ serial: 1 }));
    await jest.advanceTimersByTimeAsync(3000);
    expect(model.problem).toBe('');
  });

  it('keeps the cards in the order in which slices were opened', async () => {
    const two = [
      slice({ slice_id: 'b', age_s: 10.6 }),
      slice({ slice_id: 'a', kernel_id: 'k2', age_s: 10.1 })
    ];
    server.next = () => Promise.resolve(state({ serial: 1, slices: two }));
    await model.resync();
    for (const [serial, jitter] of [2, 3, 4, 5].map(n => [n, n / 50] as const)) {
      model.onEvent(
        change({
          serial,
          slices: two.map((one, i) => ({ ...one, age_s: one.age_s + (i - 0.5) * jitter * 10 }))
        })
      );
      expect(model.slices.map(one => one.slice_id)).toEqual(['b', 'a']);
    }
  });

  it('drops an event that the state contains already', async () => {
    server.next = () => Promise.resolve(state({ serial: 7 }));
    await model.resync();
    model.onEvent(change({ serial: 7, gone: ['s1'] }));
    expect(model.slices).toHaveLength(1);
    expect(server.asked).toBe(1);
  });

  it('keeps what happens while it asks, in the right order', async () => {
    let answer: (one: IState) => void = () => undefined;
    server.next = () => new Promise(resolve => (answer = resolve));
    const asking = model.resync();
    model.onEvent(change({ serial: 5, slices: [slice({ phase: 'waiting' })] }));
    model.onEvent(change({ serial: 6, slices: [slice({ phase: 'running' })] }));
    answer(state({ serial: 5, slices: [slice({ phase: 'waiting' })] }));
    await asking;
    expect(model.sliceOf('k1')?.phase).toBe('running');
    expect(server.asked).toBe(1);
  });

  it('asks ever more seldom while the server does not answer, and says why', async () => {
    server.next = () => Promise.reject(new Unreachable(new Error('no route')));
    await model.resync();
    expect(model.problem).toContain('does not answer');
    await jest.advanceTimersByTimeAsync(10_000);
    const early = server.asked;
    expect(early).toBeGreaterThanOrEqual(3);
    await jest.advanceTimersByTimeAsync(600_000);
    expect(server.asked - early).toBeLessThan(20);
  });

  it('is as good as new when the server is back, and makes sure that no event fell between', async () => {
    server.next = () => Promise.reject(new Unreachable(new Error('no route')));
    await model.resync();
    server.next = () => Promise.resolve(state({ slices: [] }));
    await jest.advanceTimersByTimeAsync(2_000);
    expect(model.problem).toBe('');
    expect(model.slices).toEqual([]);
    const asked = server.asked;
    await jest.advanceTimersByTimeAsync(3_600_000);
    expect(server.asked).toBe(asked + 1);
  });

  it('does not ask again where the extension is not installed', async () => {
    server.next = () => Promise.reject(new NotInstalled());
    await model.resync();
    await jest.advanceTimersByTimeAsync(3_600_000);
    expect(server.asked).toBe(1);
    expect(model.problem).toContain('Install jupyter-tfusion');
  });

  it('asks once for many failures of the connection', async () => {
    await model.resync();
    server.next = () => Promise.reject(new Unreachable(new Error('no route')));
    model.onConnectionFailure();
    model.onConnectionFailure();
    await jest.advanceTimersByTimeAsync(0);
    model.onConnectionFailure();
    expect(server.asked).toBe(2);
  });

  it('asks instead, ever more seldom, where events are of another version', async () => {
    await model.resync();
    for (let quarter = 0; quarter < 4 * 600; quarter++) {
      model.onEvent({ ...change(), server: 'fine' } as unknown as ReturnType<typeof change>);
      await jest.advanceTimersByTimeAsync(250);
    }
    expect(server.asked).toBeGreaterThan(5);
    expect(server.asked).toBeLessThan(25);
  });

  it('passes notices on', async () => {
    await model.resync();
    const heard: INotice[] = [];
    model.noticed.connect((_, notice) => heard.push(notice));
    const notice = {
      kernel_id: 'k1',
      slice_id: 's1',
      kind: 'ended',
      sentence: 'Over.',
      what_to_do: 'Restart.'
    };
    model.onEvent({ schema_id: 'https://schema.jupyter-tfusion.org/notices/v1', ...notice });
    expect(heard).toEqual([notice]);
  });

  it('prefers a living slice of a kernel to an ended one', async () => {
    server.next = () =>
      Promise.resolve(
        state({ slices: [slice({ phase: 'ended' }), slice({ slice_id: 's2', phase: 'running' })] })
      );
    await model.resync();
    expect(model.sliceOf('k1')?.slice_id).toBe('s2');
    expect(model.sliceOf(undefined)).toBeUndefined();
  });

  it('tells those who may see the host that it has changed', async () => {
    let told = 0;
    await model.resync();
    model.hostChanged.connect(() => (told += 1));
    model.onEvent(change({ serial: 2, host_changed: true }));
    model.onEvent(change({ serial: 3, gpus: [gpu({ waiting: 2 })] }));
    expect(told).toBe(1);
    expect(model.gpus[0]?.waiting).toBe(2);
  });

  it('counts on what only time changes, without asking', async () => {
    const idle = slice({ idle_s: 100, ends_in_s: 1200, age_s: 200 });
    server.next = () =>
      Promise.resolve(state({ slices: [idle, slice({ slice_id: 's2', idle_s: 0, ends_in_s: 1200 })] }));
    await model.resync();
    await jest.advanceTimersByTimeAsync(600_000);
    expect(model.slices[0]).toMatchObject({ age_s: 800, idle_s: 700, ends_in_s: 600 });
    expect(model.slices[1]).toMatchObject({ idle_s: 0, ends_in_s: 1200 });
    await jest.advanceTimersByTimeAsync(6_000_000);
    expect(model.slices[0]?.ends_in_s).toBe(0);
    expect(server.asked).toBe(1);
  });

  it('is silent once it is disposed', async () => {
    server.next = () => Promise.reject(new Unreachable(new Error('no route')));
    await model.resync();
    model.dispose();
    await jest.advanceTimersByTimeAsync(600_000);
    expect(server.asked).toBe(1);
  });
});
