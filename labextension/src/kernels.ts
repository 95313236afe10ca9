/**
 * Which notebook a kernel belongs to, and which kernel the user is looking at (commands.ts and every view).
 *
 * Jupyter knows both: sessions tie a kernel to a path, and a notebook's or console's widget has a session context.
 */
import { PathExt } from '@jupyterlab/coreutils';
import type { ISessionContext } from '@jupyterlab/apputils';
import type { Session } from '@jupyterlab/services';
import { Signal } from '@lumino/signaling';
import type { ISignal } from '@lumino/signaling';
import type { Widget } from '@lumino/widgets';

/** Where a kernel is used. */
export interface IPlace {
  readonly name: string;
  readonly path: string;
  readonly isNotebook: boolean;
}

/** The sessions of this server, by kernel. */
export class KernelPlaces {
  constructor(private readonly sessions: Session.IManager) {
    sessions.runningChanged.connect(this.onRunning, this);
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  placeOf(kernelId: string): IPlace | undefined {
    for (const session of this.sessions.running()) {
      if (session.kernel?.id === kernelId) {
        const isNotebook = session.type === 'notebook';
        return {
          path: session.path,
          isNotebook,
          name: isNotebook ? PathExt.basename(session.path) : session.name
        };
      }
    }
    return undefined;
  }

  private onRunning(): void {
    this._changed.emit();
  }

  private readonly _changed = new Signal<this, void>(this);
}

/** The session context of a widget that has one: a notebook, a console, a file with a console. */
export function sessionContextOf(widget: Widget | null | undefined): ISessionContext | undefined {
  const candidate = widget as
    { sessionContext?: ISessionContext; context?: { sessionContext?: ISessionContext } } | null | undefined;
  return candidate?.sessionContext ?? candidate?.context?.sessionContext;
}

/** What is in front of the user: follows the shell's (Lab) or the tracker's (Notebook) current widget. */
export class CurrentKernel {
  constructor(source: { current: () => Widget | null; changed: ISignal<unknown, unknown> }) {
    this.current = source.current;
    source.changed.connect(this.follow, this);
    this.follow();
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get sessionContext(): ISessionContext | undefined {
    return this._context;
  }

  get kernelId(): string | undefined {
    return this._context?.session?.kernel?.id;
  }

  private follow(): void {
    const context = sessionContextOf(this.current());
    if (context !== this._context) {
      this._context?.kernelChanged.disconnect(this.onKernel, this);
      this._context = context;
      context?.kernelChanged.connect(this.onKernel, this);
    }
    this._changed.emit();
  }

  private onKernel(): void {
    this._changed.emit();
  }

  private readonly current: () => Widget | null;
  private _context: ISessionContext | undefined;
  private readonly _changed = new Signal<this, void>(this);
}
