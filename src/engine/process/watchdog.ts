/** Notices that something has been silent for too long. */
export class Watchdog {
  #timer: ReturnType<typeof setInterval> | undefined
  #quiet = 0

  /** @param onSilence called once, after which the watchdog rests. */
  constructor(readonly onSilence: () => void) {}

  /**
   * Watches from now on. Silence is counted in quarters of `limit_ms`, not by the clock: a pause of this process, or of the whole
   * machine, is one quarter.
   */
  watch(limitMs: number): void {
    this.rest()
    this.#timer = setInterval(() => {
      if (++this.#quiet < 4) return
      this.rest()
      this.onSilence()
    }, limitMs / 4)
  }

  get watching(): boolean {
    return this.#timer !== undefined
  }

  heard(): void {
    this.#quiet = 0
  }

  rest(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#quiet = 0
  }
}
