/**
 * The one place that talks to the server extension (model.ts, host_model.ts, commands.ts).
 *
 * Every failure is of one of three types, whose message is a sentence for the learner: the server was not reached, it
 * refused, or it has no such extension. An answer that is not understood is wire.ts's NotUnderstood.
 */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import { asHost, asState, asTimeline } from './wire';
import type { IHost, IState, ITimeline } from './wire';

/** A question that hangs for longer counts as one that failed. */
const PATIENCE_MS = 30_000;

/** The Jupyter server does not answer. */
export class Unreachable extends Error {
  constructor(cause: unknown) {
    super('The Jupyter server does not answer. This page tries again by itself.', { cause });
    this.name = 'Unreachable';
  }
}

/** The server extension is not loaded in this Jupyter server. */
export class NotInstalled extends Error {
  constructor() {
    super(
      'This Jupyter server does not have the GPU extension loaded. Install jupyter-tfusion in the environment that ' +
        'runs the server, and restart it.'
    );
    this.name = 'NotInstalled';
  }
}

/** The server said no; the message is its own sentence. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    sentence: string
  ) {
    super(sentence);
    this.name = 'Refused';
  }
}

/** What can be done to a slice. */
export type SliceAction = 'swap-out' | 'resume' | 'reset';

export class Api {
  constructor(private readonly settings: ServerConnection.ISettings) {}

  async state(): Promise<IState> {
    return asState(await this.request('GET', 'state'));
  }

  async onKernel(kernelId: string, action: SliceAction): Promise<void> {
    await this.request('POST', `kernels/${encodeURIComponent(kernelId)}/${action}`);
  }

  async host(): Promise<IHost> {
    return asHost(await this.request('GET', 'host'));
  }

  async onSlice(sliceId: string, action: SliceAction): Promise<void> {
    await this.request('POST', `host/slices/${encodeURIComponent(sliceId)}/${action}`);
  }

  async timeline(): Promise<ITimeline> {
    return asTimeline(await this.request('GET', 'host/timeline'));
  }

  private async request(method: 'GET' | 'POST', path: string): Promise<unknown> {
    const url = URLExt.join(this.settings.baseUrl, 'jupyter-tfusion', 'api', path);
    let response: Response;
    let text: string;
    try {
      const signal = AbortSignal.timeout(PATIENCE_MS);
      response = await ServerConnection.makeRequest(url, { method, signal }, this.settings);
      text = await response.text();
    } catch (error) {
      throw new Unreachable(error);
    }
    const body = decoded(text);
    if (response.ok) {
      return body;
    }
    const sentence = sentenceOf(body);
    // A 404 with a sentence is the extension's own (an unknown kernel); Jupyter's page for no such place is HTML.
    if (response.status === 404 && sentence === undefined) {
      throw new NotInstalled();
    }
    throw new Refused(response.status, sentence ?? `The Jupyter server refused (${response.status}).`);
  }
}

function decoded(text: string): unknown {
  try {
    return text === '' ? undefined : (JSON.parse(text) as unknown);
  } catch {
    return undefined;
  }
}

function sentenceOf(body: unknown): string | undefined {
  const sentence = (body as { message?: unknown } | null | undefined)?.message;
  return typeof sentence === 'string' && sentence !== '' ? sentence : undefined;
}
