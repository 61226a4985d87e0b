/** Checks of the kernels: rules for every kernel, and a comparison of registers and LDS with the committed table. */

import type { KernelFacts } from "./facts.ts"

/** Kernels that must contain an instruction. A rule must match a kernel on each architecture, so that renaming a kernel is an error. */
const INSTRUCTIONS: readonly { what: string; kernels: RegExp; count: (facts: KernelFacts) => number }[] = [
  {
    what: "dot4 in the decode mat-vec of quantized weights",
    kernels: /^rf_matvec_(?:swiglu_)?(?:I?Q|MXFP4)/,
    count: (facts) => facts.dot,
  },
  {
    what: "matrix instructions in the matrix product",
    kernels: /^rf_matmul_.*_b?f16/,
    count: (facts) => facts.matrix,
  },
  {
    what: "matrix instructions in the attention of a prefill",
    kernels: /^rf_attention_flash/,
    count: (facts) => facts.matrix,
  },
]

/** Kernels that run once per weight, during its upload. */
const COLD = /^rf_repack/

/** One message for each problem. */
export function checkKernels(all: readonly KernelFacts[]): string[] {
  const problems: string[] = []
  for (const facts of all) {
    if (COLD.test(facts.kernel)) continue
    const where = `${facts.kernel} on ${facts.arch}`
    if (facts.scratch > 0) problems.push(`${where} uses ${facts.scratch} bytes of scratch per lane`)
    if (facts.spills > 0) problems.push(`${where} spills ${facts.spills} registers`)
  }
  for (const { what, kernels, count } of INSTRUCTIONS) {
    for (const arch of new Set(all.map((facts) => facts.arch))) {
      const meant = all.filter((facts) => facts.arch === arch && kernels.test(facts.kernel))
      if (meant.length === 0) problems.push(`no kernel on ${arch} matches the rule "${what}" (${kernels})`)
      for (const facts of meant) if (count(facts) === 0) problems.push(`${facts.kernel} on ${arch} lacks ${what}`)
    }
  }
  return problems
}

/** One message for each kernel that needs more resources than in an earlier table, or that only one of the tables contains. */
export function compareKernels(now: readonly KernelFacts[], before: readonly KernelFacts[]): string[] {
  const key = (facts: KernelFacts) => `${facts.kernel} on ${facts.arch}`
  const former = new Map(before.map((facts) => [key(facts), facts]))
  const problems: string[] = []
  for (const facts of now) {
    const was = former.get(key(facts))
    former.delete(key(facts))
    if (!was) {
      problems.push(`${key(facts)} is not in the table`)
      continue
    }
    if (facts.vgprs > was.vgprs) problems.push(`${key(facts)} needs ${facts.vgprs} VGPRs instead of ${was.vgprs}`)
    if (facts.lds > was.lds) problems.push(`${key(facts)} needs ${facts.lds} bytes of LDS instead of ${was.lds}`)
    if (facts.spills > was.spills)
      problems.push(`${key(facts)} spills ${facts.spills} registers instead of ${was.spills}`)
    if (facts.waves < was.waves)
      problems.push(`${key(facts)} runs ${facts.waves} waves per SIMD instead of ${was.waves}`)
  }
  for (const name of former.keys()) problems.push(`${name} is in the table but no longer exists`)
  return problems
}
