import { type Clock, every } from "../../async.ts"

/** Notices that an engine process makes no progress. */
export class Watchdog {
  readonly #clock: Clock
  readonly #onSilence: () => void
  #stop: (() => void) | undefined
  #quiet = 0

  /** @param onSilence Called once; the watchdog then rests. */
  constructor(clock: Clock, onSilence: () => void) {
    this.#clock = clock
    this.#onSilence = onSilence
  }

  /**
   * Watches from now on. Silence is counted in quarters of `limitMs`, not by the clock: a pause of this process, or of the whole
   * machine, counts as one quarter.
   */
  watch(limitMs: number): void {
    this.rest()
    this.#stop = every(this.#clock, limitMs / 4, () => {
      if (++this.#quiet < 4) return
      this.rest()
      this.#onSilence()
    })
  }

  get watching(): boolean {
    return this.#stop !== undefined
  }

  /** Starts the count anew. */
  reset(): void {
    this.#quiet = 0
  }

  rest(): void {
    this.#stop?.()
    this.#stop = undefined
    this.#quiet = 0
  }
}
