/** Long work in pieces, between which other requests have their turn. */

/** Work of one turn of the event loop, in milliseconds, after which the rest waits for the next turn. */
const TURN_MS = 10

/** When work began in this turn; `undefined`: it has not. */
let begun: number | undefined

/**
 * To be awaited between the pieces of work that may take long together. Requests share the turn: where many work in pieces, each piece
 * waits for others.
 */
export async function pause(): Promise<void> {
  if (begun === undefined) {
    begun = performance.now()
    setImmediate(() => {
      begun = undefined
    })
  } else if (performance.now() - begun > TURN_MS) await nextTurn()
}

/** To be awaited between pieces that are long by themselves. */
export const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
