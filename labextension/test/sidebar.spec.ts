import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import { MessageLoop } from '@lumino/messaging';
import { Signal } from '@lumino/signaling';
import { Widget } from '@lumino/widgets';
import { act } from 'react';

import { CommandIds } from '../src/commands';
import { CurrentKernel, KernelPlaces } from '../src/kernels';
import { SliceModel } from '../src/model';
import { Api } from '../src/requests';
import { Settings } from '../src/settings';
import { Sidebar } from '../src/sidebar';
import type { IVGpu } from '../src/tokens';
import type { IState } from '../src/wire';

import { MIB, change, slice, state } from './answers';

/** The parts of a page that the sidebar needs, with the sessions of two notebooks. */
function page(answer: IState) {
  const model = new SliceModel({ fetchState: () => Promise.resolve(answer) });
  const running = [{ type: 'notebook', path: 'labs/first.ipynb', name: '', kernel: { id: 'k1' } }];
  const sessions = { runningChanged: new Signal<object, void>({}), running: () => running.values() };
  const vgpu: IVGpu = {
    api: undefined as unknown as Api,
    model,
    settings: new Settings(),
    places: new KernelPlaces(sessions as unknown as ConstructorParameters<typeof KernelPlaces>[0]),
    current: new CurrentKernel({ current: () => null, changed: new Signal<object, void>({}) }),
    trans: nullTranslator.load('jupyter_tfusion')
  };
  const ran: string[] = [];
  const commands = new CommandRegistry();
  for (const id of Object.values(CommandIds)) {
    commands.addCommand(id, { execute: args => ran.push(`${id} ${JSON.stringify(args)}`) });
  }
  return { model, sidebar: new Sidebar(vgpu, commands), ran };
}

async function shown(answer: IState) {
  const parts = page(answer);
  await act(async () => {
    Widget.attach(parts.sidebar, document.body);
    await parts.model.resync();
    MessageLoop.flush();
  });
  return { ...parts, text: () => parts.sidebar.node.textContent };
}

function button(widget: Widget, label: string): HTMLButtonElement {
  const found = [...widget.node.querySelectorAll('button')].find(one => one.textContent === label);
  if (found === undefined) {
    throw new Error(`There is no button "${label}" in: ${widget.node.textContent}`);
  }
  return found;
}

describe('the sidebar', () => {
  let widget: Widget | undefined;
  afterEach(() => act(() => widget?.dispose()));

  it('says what to do where no notebook uses a GPU', async () => {
    const { sidebar, text } = await shown(state({ slices: [] }));
    widget = sidebar;
    expect(text()).toContain('No notebook uses a GPU now. Choose a kernel named vGPU in the launcher.');
    expect(text()).toContain('Nobody waits.');
  });

  it("shows the server's sentence where there is no daemon", async () => {
    const sentence = 'No GPU server runs yet. It starts with the first vGPU kernel.';
    const { sidebar, text } = await shown(
      state({ slices: [], gpus: [], server: { connected: false, sentence } })
    );
    widget = sidebar;
    expect(text()).toContain(sentence);
  });

  it("shows a card with the notebook's name, state, memory and reason", async () => {
    const why = 'ada is ahead of you.';
    const { sidebar, text } = await shown(state({ slices: [slice({ phase: 'waiting', place: 2, why })] }));
    widget = sidebar;
    for (const words of ['first.ipynb', 'waiting: place 2', why, '128 MiB of 256 MiB used']) {
      expect(text()).toContain(words);
    }
    const meter = sidebar.node.querySelector('.jp-tfusion-card [role=meter]');
    expect(meter?.getAttribute('aria-valuetext')).toBe('128 MiB of 256 MiB used');
  });

  it('follows events', async () => {
    const { sidebar, model, text } = await shown(state());
    widget = sidebar;
    act(() => {
      model.onEvent(
        change({ slices: [slice({ phase: 'ended', why: 'The worker was killed.', sessions: 0 })] })
      );
      MessageLoop.flush();
    });
    expect(text()).toContain('ended');
    expect(text()).toContain('The worker was killed.');
    expect(button(sidebar, 'Free GPU memory').getAttribute('aria-disabled')).toBe('true');
  });

  it('runs the commands of its buttons for the kernel of the card, if they make sense', async () => {
    const { sidebar, ran } = await shown(state({ slices: [slice({ sessions: 0 })] }));
    widget = sidebar;
    button(sidebar, 'Free GPU memory').click();
    button(sidebar, 'End GPU work').click();
    button(sidebar, 'Open').click();
    expect(ran).toEqual(['tfusion:swap-out {"kernelId":"k1"}', 'tfusion:open-notebook {"kernelId":"k1"}']);
  });

  it('offers to bring back what is swapped out, with progress while it comes', async () => {
    const { sidebar, model } = await shown(
      state({ slices: [slice({ phase: 'swapped out', resident_bytes: 0, swapped_bytes: 128 * MIB })] })
    );
    widget = sidebar;
    expect(button(sidebar, 'Bring back').getAttribute('aria-disabled')).toBe('false');
    act(() => {
      model.onEvent(
        change({
          slices: [slice({ phase: 'swapping in', resident_bytes: 64 * MIB, swapped_bytes: 64 * MIB })]
        })
      );
      MessageLoop.flush();
    });
    expect(sidebar.node.querySelector('progress')?.value).toBe(50);
  });

  it('shows the way to all slices only to those with the right', async () => {
    const learner = await shown(state());
    expect(learner.text()).not.toContain('All slices of this host');
    act(() => learner.sidebar.dispose());
    const teacher = await shown(state({ may_see_host: true }));
    widget = teacher.sidebar;
    expect(teacher.text()).toContain('All slices of this host');
  });
});
