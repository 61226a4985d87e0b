/** Size of the K/V cache. */

import type { ModelDefinition } from "../models/registry.ts"
import { BLOCK_SIZE } from "../native/abi.ts"
import { NativeError } from "../native/errors.ts"
import type { Dtype } from "../native/ops.ts"
import { blocksFor } from "./blocks.ts"

/** Default share of the free memory for K/V caches. */
const CACHE_SHARE = { host: 0.5, device: 0.8 }

/** Default number of full-length requests that a cache in host memory holds. More can run: few are that long, and one can be preempted. */
const FULL_LENGTHS = 8

/** Upper bounds for a K/V cache, in bytes. */
interface CacheRoom {
  /** When the user set `--ctx-size`. */
  free: number
  /** When the length is chosen here. */
  affordable: number
  /** Whether `--memory-budget` is the bound, not the free memory. */
  limited: boolean
  /** The cache is in host memory, which other programs use too. */
  onCpu: boolean
}

/** @param spare Free bytes on the device. @param afterWeights What the memory limit leaves when the weights are loaded. */
export function cacheRoom(onCpu: boolean, spare: number, afterWeights: number): CacheRoom {
  return {
    free: Math.min(spare, afterWeights),
    affordable: Math.min(spare * (onCpu ? CACHE_SHARE.host : CACHE_SHARE.device), afterWeights),
    limited: afterWeights < spare,
    onCpu,
  }
}

interface CacheOptions {
  ctxSize?: number
  maxSeqs: number
  /** Requests of full length that the cache has room for. */
  fullLengths?: number
  kvType: Dtype
}

/**
 * The context length of one request, and the blocks of the cache that all requests share. The cache has room for `maxSeqs` requests of
 * full length (on the CPU for eight, unless `fullLengths` is set) where the affordable memory suffices, and for fewer otherwise. The context
 * is shortened only where not even one request would fit.
 * @throws NativeError `OUT_OF_MEMORY` when `ctxSize` does not fit into the memory, or the memory limit leaves no cache.
 */
export function cacheSize(
  { plan, config }: ModelDefinition,
  room: CacheRoom,
  { ctxSize, maxSeqs, fullLengths, kvType }: CacheOptions,
): { contextLength: number; nBlocks: number; bytes: number } {
  const blockBytes = Math.max(1, plan.cacheBytesPerToken(kvType) * BLOCK_SIZE)
  const affordable = Math.floor(room.affordable / blockBytes)
  const full = blocksFor(ctxSize ?? config.contextLength)
  const left = `${sizeText(room.free)} are ${room.limited ? "left of the memory limit" : "free"}`
  if (ctxSize !== undefined && full * blockBytes > room.free) {
    throw new NativeError(
      "OUT_OF_MEMORY",
      `a context of ${ctxSize} tokens takes ${sizeText(full * blockBytes)} of K/V cache, ${left}`,
      affordable > 0
        ? `lower --ctx-size to ${affordable * BLOCK_SIZE} or less`
        : "raise --memory-budget, or take a smaller model",
    )
  }
  if (room.limited && affordable < 1) {
    const remedy = "raise --memory-budget, or take a smaller model"
    throw new NativeError("OUT_OF_MEMORY", `the model's weights leave no room for a K/V cache: ${left}`, remedy)
  }
  const longest = ctxSize !== undefined ? full : Math.max(1, Math.min(full, affordable))
  const sequences = Math.min(maxSeqs, fullLengths ?? (room.onCpu ? FULL_LENGTHS : maxSeqs))
  const nBlocks = Math.max(longest, Math.min(longest * sequences, affordable))
  return {
    contextLength: Math.min(ctxSize ?? config.contextLength, longest * BLOCK_SIZE),
    nBlocks,
    bytes: nBlocks * blockBytes,
  }
}

function sizeText(bytes: number): string {
  const mib = Math.max(0, bytes) / 2 ** 20
  return mib < 1024 ? `${mib.toFixed(1)} MiB` : `${(mib / 1024).toFixed(1)} GiB`
}
