import { nullTranslator } from '@jupyterlab/translation';

import {
  explanationOf,
  formatBytes,
  formatSeconds,
  idleLimitOf,
  memoryOf,
  queueOf,
  stateOf
} from '../src/words';

import { MIB, gpu, slice } from './answers';

const trans = nullTranslator.load('jupyter_tfusion');

describe('words', () => {
  it.each([
    [0, '0 B'],
    [512 * MIB, '512 MiB'],
    [1.5 * 1024 * MIB, '1.5 GiB'],
    [4 * 1024 * MIB, '4 GiB'],
    [123.4 * MIB, '123 MiB'],
    [2.04 * 1024 * MIB, '2 GiB']
  ])('%d bytes are %s', (bytes, words) => {
    expect(formatBytes(bytes)).toBe(words);
  });

  it.each([
    [0, '0\u00a0s'],
    [0.42, '0.4\u00a0s'],
    [3, '3\u00a0s'],
    [75, '75\u00a0s'],
    [600, '10\u00a0min'],
    [7200, '2\u00a0h'],
    [7500, '2\u00a0h 5\u00a0min']
  ])('%d seconds are %s', (seconds, words) => {
    expect(formatSeconds(seconds, trans)).toBe(words);
  });

  it('say what a slice does', () => {
    expect(stateOf(slice({ phase: 'running' }), trans)).toBe('running');
    expect(stateOf(slice({ phase: 'waiting', place: 1 }), trans)).toBe('waiting: next');
    expect(stateOf(slice({ phase: 'waiting', place: 2 }), trans)).toBe('waiting: place 2');
    expect(stateOf(slice({ sessions: 0 }), trans)).toBe('not used yet');
    const coming = slice({ phase: 'swapping in', resident_bytes: MIB, swapped_bytes: 3 * MIB });
    expect(stateOf(coming, trans)).toBe('coming back to the GPU: 25\u00a0%');
  });

  it("prefer the server's reason to one of ours", () => {
    expect(explanationOf(slice({ phase: 'waiting', why: 'ada computes.' }), trans)).toBe('ada computes.');
    expect(explanationOf(slice({ phase: 'ended' }), trans)).toContain('Restart the kernel');
    expect(explanationOf(slice(), trans)).toBe('');
  });

  it('tell memory, queue and the idle limit when it is near', () => {
    expect(memoryOf(slice({ swapped_bytes: 32 * MIB }), trans)).toBe(
      '128 MiB of 256 MiB used, 32 MiB of it swapped out'
    );
    expect(queueOf(gpu(), trans)).toBe('Nobody waits.');
    expect(queueOf(gpu({ waiting: 1 }), trans)).toBe('1 program waits.');
    expect(queueOf(gpu({ waiting: 3 }), trans)).toBe('3 programs wait.');
    expect(idleLimitOf(slice({ ends_in_s: 300 }), trans)).toContain('5\u00a0min');
    expect(idleLimitOf(slice({ ends_in_s: 5000 }), trans)).toBe('');
    expect(idleLimitOf(slice({ ends_in_s: -1 }), trans)).toBe('');
    expect(idleLimitOf(slice({ ends_in_s: 300, idle_s: 0 }), trans)).toBe('');
  });
});
