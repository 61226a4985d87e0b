/**
 * The first Ctrl-C calls `stop`; the next one meets no handler any more, so the system ends the process at once.
 * Dispose it when the work is done.
 */
export function onInterrupt(stop: () => void, signals: readonly NodeJS.Signals[] = ["SIGINT"]): Disposable {
  const remove = (): void => {
    for (const signal of signals) process.removeListener(signal, handle)
  }
  const handle = (): void => {
    remove()
    stop()
  }
  for (const signal of signals) process.on(signal, handle)
  return { [Symbol.dispose]: remove }
}
