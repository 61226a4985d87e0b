import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto"

/** What a server that speaks HTTPS shows: its certificate, followed by those in between it and a root, and the key, as PEM. */
export interface Tls {
  readonly cert: string
  readonly key: string
}

/** A certificate or key that no server can use; the message says what to do. */
export class TlsError extends Error {
  override readonly name = "TlsError"
}

/**
 * Checks that a certificate and a key can be used, and belong to each other.
 * @param names What messages call the two.
 * @returns when the certificate expires.
 * @throws TlsError
 */
export function checkTls(
  { cert, key }: Tls,
  names: { cert: string; key: string } = { cert: "the TLS certificate", key: "the TLS key" },
): Date {
  const certificate = readCertificate(cert, names.cert)
  if (!certificate.checkPrivateKey(readKey(key, names.key)))
    throw new TlsError(
      `${names.key} does not belong to ${names.cert}; the server's own certificate must come first, those that vouch for it behind it`,
    )
  return new Date(certificate.validTo)
}

function readCertificate(pem: string, name: string): X509Certificate {
  if (!pem.includes("-----BEGIN CERTIFICATE-----"))
    throw new TlsError(
      pem.includes("PRIVATE KEY-----")
        ? `${name} holds a private key and no certificate; are the two swapped?`
        : `${name} holds no certificate as PEM (-----BEGIN CERTIFICATE-----); 'openssl x509 -inform der' converts one`,
    )
  try {
    return new X509Certificate(pem)
  } catch (cause) {
    throw new TlsError(`${name} is not a valid certificate (${reasonOf(cause)}); have it issued again`, { cause })
  }
}

function readKey(pem: string, name: string): KeyObject {
  if (!pem.includes("PRIVATE KEY-----"))
    throw new TlsError(`${name} holds no private key as PEM (-----BEGIN PRIVATE KEY-----)`)
  if (/-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m.test(pem))
    throw new TlsError(
      `${name} is encrypted, and the server asks for no passphrase; decrypt it with 'openssl pkey -in KEY -out PLAIN' into a file that the server alone may read`,
    )
  try {
    return createPrivateKey(pem)
  } catch (cause) {
    throw new TlsError(`${name} is not a valid private key (${reasonOf(cause)})`, { cause })
  }
}

const reasonOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))
