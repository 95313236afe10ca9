import { NotUnderstood, asChange, asNotice, asState, asTimeline } from '../src/wire';

import { change, slice, state } from './answers';

describe('answers of the server', () => {
  it('are taken as they are, without what is unknown', () => {
    const answer = { ...state({ serial: 3 }), tomorrow: 'more' };
    expect(asState(answer)).toEqual(state({ serial: 3 }));
  });

  it.each([
    ['a missing field', { ...state(), gpus: undefined }, 'state.gpus'],
    ['another type', { ...state(), slices: [{ ...slice(), gpu_s: '1' }] }, 'state.slices[0].gpu_s'],
    ['not a number', { ...state(), slices: [{ ...slice(), idle_s: Infinity }] }, 'state.slices[0].idle_s'],
    ['an unknown phase', { ...state(), slices: [{ ...slice(), phase: 'dancing' }] }, 'state.slices[0].phase'],
    ['no object at all', null, 'state']
  ])('with %s are refused, and it is said where', (_, answer, where) => {
    expect(() => asState(answer)).toThrow(NotUnderstood);
    expect(() => asState(answer)).toThrow(`(${where})`);
  });

  it('may come without a serial', () => {
    expect(asChange(change()).serial).toBeUndefined();
  });

  it('that are notices have one of the kinds that are known', () => {
    const notice = { kernel_id: 'k', slice_id: 's', kind: 'ended', sentence: 'It ended.', what_to_do: '' };
    expect(asNotice(notice).kind).toBe('ended');
    expect(() => asNotice({ ...notice, kind: 'party' })).toThrow(NotUnderstood);
  });

  it('that are timelines are checked to the last sample', () => {
    const sample = { at_s: 1, phase: 'running', resident_bytes: 0, swapped_bytes: 0 };
    const row = { slice_id: 's', name: 'n', owner: 'o', samples: [sample, { ...sample, at_s: null }] };
    expect(() => asTimeline({ now_s: 2, slices: [row] })).toThrow('timeline.slices[0].samples[1].at_s');
  });
});
