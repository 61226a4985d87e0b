/**
 * Calls `stop` at the first Ctrl-C (or other given signal) and removes its handlers, so that the next one ends the process at once.
 * @returns a disposable that removes the handlers; dispose it when the work is done.
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
