/**
 * What a row more costs a step that only generates: milliseconds = base + row × rows, fitted to the last steps by least squares. It says
 * when a drafted token is worth its row.
 */

/** Weight of a step beside the one after it. */
const DECAY = 0.98
/** Until steps of different sizes were seen: the share of a step of one row that a second row adds. */
const ASSUMED_SHARE = 0.3

export class StepCost {
  #n = 0
  #rows = 0
  #rows2 = 0
  #ms = 0
  #rowsMs = 0

  record(rows: number, ms: number): void {
    // A pause of the machine says nothing about rows.
    if (this.#n > 8 && ms > 5 * this.#estimate(rows)) return
    this.#n = DECAY * this.#n + 1
    this.#rows = DECAY * this.#rows + rows
    this.#rows2 = DECAY * this.#rows2 + rows * rows
    this.#ms = DECAY * this.#ms + ms
    this.#rowsMs = DECAY * this.#rowsMs + rows * ms
  }

  /**
   * The share of its drafted tokens that a sequence must see accepted for them to pay, when `n_seqs` generate together: what a row costs,
   * over what a token costs without drafting.
   */
  leastAcceptance(nSeqs: number): number {
    const { base, row } = this.#fit()
    const token = base / nSeqs + row
    return token > 0 ? row / token : ASSUMED_SHARE
  }

  #estimate(rows: number): number {
    const { base, row } = this.#fit()
    return base + row * rows
  }

  #fit(): { base: number; row: number } {
    if (this.#n === 0) return { base: 1 - ASSUMED_SHARE, row: ASSUMED_SHARE }
    const [rows, ms] = [this.#rows / this.#n, this.#ms / this.#n]
    const variance = this.#rows2 / this.#n - rows * rows
    if (variance < 0.05) {
      const one = ms / (1 - ASSUMED_SHARE + ASSUMED_SHARE * rows)
      return { base: one * (1 - ASSUMED_SHARE), row: one * ASSUMED_SHARE }
    }
    const slope = (this.#rowsMs / this.#n - rows * ms) / variance
    const row = Math.min(Math.max(slope, 0), ms / rows)
    return { base: ms - row * rows, row }
  }
}
