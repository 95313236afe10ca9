/**
 * What can be done to a slice, as commands of the application: for the cards' buttons, the menus and the palette.
 *
 * Without arguments a command is about the kernel in front of the user. Every failure ends in a notification with the
 * server's sentence.
 */
import { Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import type { ISessionContext } from '@jupyterlab/apputils';
import type { IDocumentManager } from '@jupyterlab/docmanager';
import type { ServiceManager } from '@jupyterlab/services';
import type { CommandRegistry } from '@lumino/commands';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import type { SliceAction } from './requests';
import type { IVGpu } from './tokens';
import type { ISlice } from './wire';

export const CommandIds = {
  swapOut: 'tfusion:swap-out',
  resume: 'tfusion:resume',
  reset: 'tfusion:reset',
  restartKernel: 'tfusion:restart-kernel',
  openNotebook: 'tfusion:open-notebook',
  show: 'tfusion:show',
  openHost: 'tfusion:open-host'
} as const;

export interface ICommandParts {
  readonly vgpu: IVGpu;
  readonly services: ServiceManager.IManager;
  readonly documents: IDocumentManager | null;
  readonly dialogs: ISessionContext.IDialogs | null;
}

/** Whether an action makes sense for a slice as it is now. */
export function canDo(action: SliceAction, slice: ISlice): boolean {
  if (slice.phase === 'ended') {
    return false;
  }
  switch (action) {
    case 'swap-out':
      return slice.resident_bytes > 0 && slice.phase !== 'swapping out';
    case 'resume':
      return slice.swapped_bytes > 0 && slice.phase !== 'swapping in';
    case 'reset':
      return slice.sessions > 0;
  }
}

export function addCommands(commands: CommandRegistry, parts: ICommandParts): void {
  const { trans } = parts.vgpu;
  addSliceCommand(commands, parts, CommandIds.swapOut, 'swap-out', {
    label: trans.__('Free GPU Memory'),
    caption: trans.__(
      "Moves the kernel's GPU data to the computer's memory; the next cell that needs them brings them back"
    )
  });
  addSliceCommand(commands, parts, CommandIds.resume, 'resume', {
    label: trans.__('Bring GPU Data Back'),
    caption: trans.__("Moves the kernel's GPU data back to the GPU before a cell needs them")
  });
  addSliceCommand(commands, parts, CommandIds.reset, 'reset', {
    label: trans.__('End GPU Work…'),
    caption: trans.__("Ends what the kernel's programs do on the GPU; the kernel and its variables stay")
  });
  commands.addCommand(CommandIds.restartKernel, {
    label: trans.__('Restart Kernel…'),
    caption: trans.__('Starts the kernel anew, with empty GPU memory'),
    describedBy: { args: KERNEL_ARGS },
    execute: args =>
      reporting(trans.__('The kernel was not restarted.'), () => restart(parts, kernelIdOf(parts, args)))
  });
  commands.addCommand(CommandIds.openNotebook, {
    label: trans.__('Open Notebook'),
    describedBy: { args: KERNEL_ARGS },
    isEnabled: args => parts.documents !== null && placeOf(parts, args) !== undefined,
    execute: args => {
      const place = placeOf(parts, args);
      return place === undefined ? undefined : parts.documents?.openOrReveal(place.path);
    }
  });
}

const KERNEL_ARGS = {
  type: 'object',
  properties: {
    kernelId: { type: 'string', description: 'The kernel; the one in front of the user if it is left out' },
    sliceId: { type: 'string', description: "Another person's slice instead (teachers)" }
  }
} as const;

function addSliceCommand(
  commands: CommandRegistry,
  parts: ICommandParts,
  id: string,
  action: SliceAction,
  words: { label: string; caption: string }
): void {
  const { vgpu } = parts;
  const { trans } = vgpu;
  commands.addCommand(id, {
    ...words,
    describedBy: { args: KERNEL_ARGS },
    isEnabled: args => {
      if (typeof args['sliceId'] === 'string') {
        return true;
      }
      const slice = vgpu.model.sliceOf(kernelIdOf(parts, args));
      return slice !== undefined && canDo(action, slice);
    },
    execute: async args => {
      const { sliceId } = args;
      // Before the dialog: behind it, another notebook may have come to the front.
      const kernelId = kernelIdOf(parts, args);
      const named = kernelId === undefined ? args : { ...args, kernelId };
      if (action === 'reset' && !(await agrees(parts, named))) {
        return;
      }
      await reporting(trans.__('It could not be done.'), async () => {
        if (typeof sliceId === 'string') {
          await vgpu.api.onSlice(sliceId, action);
        } else if (kernelId !== undefined) {
          await vgpu.api.onKernel(kernelId, action);
        }
      });
    }
  });
}

function kernelIdOf(parts: ICommandParts, args: ReadonlyPartialJSONObject): string | undefined {
  const { kernelId } = args;
  return typeof kernelId === 'string' ? kernelId : parts.vgpu.current.kernelId;
}

function placeOf(parts: ICommandParts, args: ReadonlyPartialJSONObject) {
  const kernelId = kernelIdOf(parts, args);
  return kernelId === undefined ? undefined : parts.vgpu.places.placeOf(kernelId);
}

/** Runs what may fail; a failure is a notification with its sentence. */
async function reporting(what: string, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    Notification.error(`${what} ${error instanceof Error ? error.message : String(error)}`, {
      autoClose: false
    });
  }
}

async function agrees(parts: ICommandParts, args: ReadonlyPartialJSONObject): Promise<boolean> {
  const { trans } = parts.vgpu;
  const name =
    typeof args['name'] === 'string' ? args['name'] : (placeOf(parts, args)?.name ?? trans.__('this kernel'));
  const answer = await showDialog({
    title: trans.__('End the GPU work of %1?', name),
    body: trans.__(
      'What it holds on the GPU is lost, and its next CUDA call says so. The kernel and its variables stay; restart it to use the GPU again.'
    ),
    buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: trans.__('End GPU Work') })]
  });
  return answer.button.accept;
}

async function restart(parts: ICommandParts, kernelId: string | undefined): Promise<void> {
  const { vgpu, services, documents, dialogs } = parts;
  if (kernelId === undefined) {
    return;
  }
  // An open notebook restarts its kernel itself, so that it knows.
  const place = vgpu.places.placeOf(kernelId);
  const widget = place && documents?.findWidget(place.path);
  const context =
    vgpu.current.kernelId === kernelId ? vgpu.current.sessionContext : widget?.context.sessionContext;
  if (context !== undefined && dialogs !== null) {
    await dialogs.restart(context);
    return;
  }
  const { trans } = vgpu;
  const answer = await showDialog({
    title: trans.__('Restart the kernel of %1?', place?.name ?? trans.__('this kernel')),
    body: trans.__('All its variables will be lost.'),
    buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: trans.__('Restart') })]
  });
  if (!answer.button.accept) {
    return;
  }
  const model = await services.kernels.findById(kernelId);
  if (model !== undefined) {
    const kernel = services.kernels.connectTo({ model });
    try {
      await kernel.restart();
    } finally {
      kernel.dispose();
    }
  }
}
