import { Notification } from '@jupyterlab/apputils';
import type { Session } from '@jupyterlab/services';
import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import { Signal } from '@lumino/signaling';

import { CommandIds, addCommands, canDo } from '../src/commands';
import { CurrentKernel, KernelPlaces } from '../src/kernels';
import { SliceModel } from '../src/model';
import { showNotice } from '../src/notices';
import { Refused } from '../src/requests';
import type { Api, SliceAction } from '../src/requests';
import { RunningSlices } from '../src/running';
import { Settings } from '../src/settings';
import type { IVGpu } from '../src/tokens';
import type { INotice } from '../src/wire';

import { MIB, slice, state } from './answers';

/** Commands about one kernel, with what the server was asked to do and what it answers. */
async function page() {
  const done: string[] = [];
  let refusal: Error | undefined;
  const act = (what: string) => (id: string, action: SliceAction) => {
    done.push(`${what} ${id} ${action}`);
    return refusal === undefined ? Promise.resolve() : Promise.reject(refusal);
  };
  const model = new SliceModel({ fetchState: () => Promise.resolve(state()) });
  await model.resync();
  const running = [{ type: 'notebook', path: 'labs/first.ipynb', name: '', kernel: { id: 'k1' } }];
  const sessions = { runningChanged: new Signal<object, void>({}), running: () => running.values() };
  const vgpu: IVGpu = {
    api: { onKernel: act('kernel'), onSlice: act('slice') } as unknown as Api,
    model,
    settings: new Settings(),
    places: new KernelPlaces(sessions as unknown as Session.IManager),
    current: new CurrentKernel({ current: () => null, changed: new Signal<object, void>({}) }),
    trans: nullTranslator.load('jupyter_tfusion')
  };
  const commands = new CommandRegistry();
  addCommands(commands, { vgpu, services: {} as never, documents: null, dialogs: null });
  return { vgpu, commands, done, refuse: (error: Error) => (refusal = error) };
}

afterEach(() => Notification.dismiss());

describe('what can be done to a slice', () => {
  it.each([
    ['swap-out', slice(), true],
    ['swap-out', slice({ resident_bytes: 0 }), false],
    ['swap-out', slice({ phase: 'swapping out' }), false],
    ['resume', slice(), false],
    ['resume', slice({ swapped_bytes: MIB }), true],
    ['reset', slice(), true],
    ['reset', slice({ sessions: 0 }), false],
    ['reset', slice({ phase: 'ended' }), false]
  ] as const)('%s', (action, one, can) => {
    expect(canDo(action, one)).toBe(can);
  });
});

describe('a command', () => {
  it('is about the kernel that it is given, or about the slice', async () => {
    const { commands, done } = await page();
    await commands.execute(CommandIds.swapOut, { kernelId: 'k1' });
    await commands.execute(CommandIds.resume, { sliceId: 's7' });
    expect(done).toEqual(['kernel k1 swap-out', 'slice s7 resume']);
  });

  it('is enabled where it makes sense', async () => {
    const { commands } = await page();
    expect(commands.isEnabled(CommandIds.swapOut, { kernelId: 'k1' })).toBe(true);
    expect(commands.isEnabled(CommandIds.resume, { kernelId: 'k1' })).toBe(false);
    expect(commands.isEnabled(CommandIds.swapOut, {})).toBe(false);
  });

  it("that is refused ends in a notification with the server's sentence", async () => {
    const { commands, refuse } = await page();
    refuse(new Refused(409, 'It computes now; interrupt its cell first.'));
    await commands.execute(CommandIds.swapOut, { kernelId: 'k1' });
    expect(Notification.manager.notifications.map(one => one.message)).toEqual([
      'It could not be done. It computes now; interrupt its cell first.'
    ]);
  });
});

describe('a notice', () => {
  const ended: INotice = {
    kernel_id: 'k1',
    slice_id: 's1',
    kind: 'ended',
    sentence: 'The worker was killed.',
    what_to_do: 'Restart the kernel.'
  };
  const labels = () => Notification.manager.notifications[0]?.options.actions?.map(action => action.label);

  it('names the notebook, says what to do and offers it', async () => {
    const { vgpu, commands } = await page();
    showNotice(ended, vgpu, commands);
    expect(Notification.manager.notifications[0]?.message).toBe(
      'first.ipynb: The worker was killed. Restart the kernel.'
    );
    expect(labels()).toEqual(['Open', 'Restart kernel']);
  });

  it('that is longer than a notification can be read as a whole', async () => {
    const { vgpu, commands } = await page();
    showNotice({ ...ended, what_to_do: 'Restart the kernel. '.repeat(10) }, vgpu, commands);
    expect(labels()).toEqual(['Read more', 'Open', 'Restart kernel']);
  });

  it('before an end is a warning, and needs no restart', async () => {
    const { vgpu, commands } = await page();
    showNotice({ ...ended, kind: 'idle_warning' }, vgpu, commands);
    expect(Notification.manager.notifications[0]?.type).toBe('warning');
    expect(labels()).toEqual(['Open']);
  });

  it('is not shown to who does not want it', async () => {
    const { vgpu, commands } = await page();
    const chosen = { composite: { endNotices: false }, changed: new Signal<object, void>({}) };
    vgpu.settings.follow(chosen as never);
    showNotice(ended, vgpu, commands);
    expect(Notification.manager.count).toBe(0);
  });
});

describe('the section of running things', () => {
  it('lists slices, and frees the memory of one or of all', async () => {
    const { vgpu, commands, done } = await page();
    const section = new RunningSlices(vgpu, commands);
    const [item] = section.running();
    expect(item?.label()).toBe('first.ipynb');
    expect(item?.detail?.()).toBe('idle, 128 MiB');
    item?.shutdown?.();
    section.shutdownAll();
    expect(done).toEqual(['kernel k1 swap-out', 'kernel k1 swap-out']);
  });
});
