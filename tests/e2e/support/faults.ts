/** Controls `faulty-engine.ts` from a test, through tokens of its requests and files in a shared folder. */

import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

/** Tokens at which a step misbehaves. */
export const FAULTS = {
  /** The step fails. */
  fail: 901,
  /** The process exits with code 7. */
  exit: 911,
  /** The step waits until the test opens the gate (or the second gate). */
  gate: 831,
  secondGate: 841,
  /** The step hangs. */
  hang: 921,
} as const

/** `broken`: the engine cannot be loaded. `mute`: loading never ends. `gate`, `secondGate`: the gate is open. */
type Switch = "broken" | "mute" | "gate" | "secondGate"

/** Switches that a test sets and an engine process reads, and the count of hung steps, which the process writes. */
export class FaultFiles {
  constructor(readonly folder = mkdtempSync(join(tmpdir(), "rocmforge-faults-"))) {}

  set(name: Switch): void {
    writeFileSync(join(this.folder, name), "")
  }

  clear(name: Switch): void {
    rmSync(join(this.folder, name), { force: true })
  }

  isSet(name: Switch | "hangs"): boolean {
    return existsSync(join(this.folder, name))
  }

  /** Number of hung steps so far. */
  get nHangs(): number {
    return this.isSet("hangs") ? readFileSync(join(this.folder, "hangs")).length : 0
  }

  countHang(): void {
    appendFileSync(join(this.folder, "hangs"), ".")
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}
