/** @jest-environment node */
import { createServer } from 'node:http';
import type { IncomingMessage, Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import { ServerConnection } from '@jupyterlab/services';

import { Api, NotInstalled, Refused, Unreachable } from '../src/requests';
import { NotUnderstood } from '../src/wire';

import { state } from './answers';

interface IAnswer {
  readonly status: number;
  readonly body: string;
}

/** A server that gives recorded answers and keeps what it was asked. */
class Recorded {
  readonly asked: string[] = [];
  answer: IAnswer = { status: 200, body: '' };

  async start(): Promise<Api> {
    this.server = createServer((request: IncomingMessage, reply) => {
      this.asked.push(`${request.method ?? ''} ${request.url ?? ''}`);
      reply.writeHead(this.answer.status, { 'Content-Type': 'application/json' });
      reply.end(this.answer.body);
    });
    await new Promise<void>(resolve => this.server?.listen(0, '127.0.0.1', resolve));
    const { port } = this.server.address() as AddressInfo;
    return new Api(ServerConnection.makeSettings({ baseUrl: `http://127.0.0.1:${port}/user/ada/` }));
  }

  async stop(): Promise<void> {
    this.server?.closeAllConnections();
    await new Promise(resolve => this.server?.close(resolve));
  }

  private server: Server | undefined;
}

describe('a request', () => {
  const server = new Recorded();
  let api: Api;

  beforeAll(async () => {
    api = await server.start();
  });
  afterAll(() => server.stop());
  beforeEach(() => server.asked.splice(0));

  it('goes below the base URL, and its answer is checked', async () => {
    server.answer = { status: 200, body: JSON.stringify(state()) };
    expect(await api.state()).toEqual(state());
    expect(server.asked[0]).toMatch(/^GET \/user\/ada\/jupyter-tfusion\/api\/state/);
    server.answer = { status: 200, body: '{"server": 1}' };
    await expect(api.state()).rejects.toThrow(NotUnderstood);
  });

  it('names kernels and slices safely', async () => {
    server.answer = { status: 204, body: '' };
    await api.onKernel('../../api/shutdown', 'swap-out');
    await api.onSlice('s 1', 'reset');
    expect(server.asked[0]).toContain('/kernels/..%2F..%2Fapi%2Fshutdown/swap-out');
    expect(server.asked[1]).toContain('/host/slices/s%201/reset');
  });

  it("that is refused is the server's own sentence", async () => {
    const sentence = 'The kernel is computing; interrupt it first.';
    server.answer = { status: 409, body: JSON.stringify({ message: sentence }) };
    const failure = await api.onKernel('k1', 'swap-out').catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(Refused);
    expect(failure).toMatchObject({ status: 409, message: sentence });
  });

  it('that is refused without a sentence says at least how', async () => {
    server.answer = { status: 500, body: '<html>' };
    await expect(api.state()).rejects.toThrow('The Jupyter server refused (500).');
  });

  it('of a server without the extension says what to install', async () => {
    server.answer = { status: 404, body: '<html>Not found</html>' };
    await expect(api.state()).rejects.toThrow(NotInstalled);
    server.answer = { status: 404, body: '{"message": "There is no kernel k1."}' };
    await expect(api.onKernel('k1', 'reset')).rejects.toThrow(Refused);
  });

  it('to a server that is gone is of a type of its own', async () => {
    const other = new Recorded();
    const lost = await other.start();
    await other.stop();
    await expect(lost.state()).rejects.toThrow(Unreachable);
  });
});
