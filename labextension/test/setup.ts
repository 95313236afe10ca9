/** What browsers have and jsdom lacks, as far as JupyterLab's packages ask for it when they are loaded. */
import { TextDecoder, TextEncoder } from 'node:util';

if (typeof document !== 'undefined') {
  Object.assign(globalThis, {
    TextDecoder,
    TextEncoder,
    matchMedia: () => ({
      matches: false,
      addEventListener: () => undefined,
      removeEventListener: () => undefined
    }),
    requestIdleCallback: (run: () => void) => setTimeout(run, 0),
    cancelIdleCallback: clearTimeout,
    DragEvent: class extends Event {},
    ResizeObserver: class {
      observe(): void {
        return;
      }
      unobserve(): void {
        return;
      }
      disconnect(): void {
        return;
      }
    }
  });
  Object.defineProperty(navigator, 'clipboard', { value: {} });
  // React's act() asks for it.
  Object.assign(globalThis, { IS_REACT_ACT_ENVIRONMENT: true });
}
