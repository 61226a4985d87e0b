import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto"

/** An HTTPS server's certificate, followed by its intermediate certificates, and its private key, all as PEM text. */
export interface Tls {
  readonly cert: string
  readonly key: string
}

/** A certificate or key that a server cannot use. The message says what to do. */
export class TlsError extends Error {
  override readonly name = "TlsError"
}

/**
 * Checks that a certificate and a private key are usable and match.
 * @param names The names of the two in error messages.
 * @returns the expiry date of the certificate.
 * @throws TlsError
 */
export function checkTls(
  { cert, key }: Tls,
  names: { cert: string; key: string } = { cert: "the TLS certificate", key: "the TLS key" },
): Date {
  const certificate = readCertificate(cert, names.cert)
  if (!certificate.checkPrivateKey(readKey(key, names.key)))
    throw new TlsError(
      `${names.key} does not belong to ${names.cert}; use the key that the certificate was issued for, and put the server's own certificate first, before the intermediate ones`,
    )
  return new Date(certificate.validTo)
}

function readCertificate(pem: string, name: string): X509Certificate {
  if (!pem.includes("-----BEGIN CERTIFICATE-----"))
    throw new TlsError(
      pem.includes("PRIVATE KEY-----")
        ? `${name} holds a private key and no certificate; check whether the two files are swapped`
        : `${name} holds no PEM certificate (-----BEGIN CERTIFICATE-----); convert a DER file with 'openssl x509 -inform der'`,
    )
  try {
    return new X509Certificate(pem)
  } catch (cause) {
    throw new TlsError(`${name} is not a valid certificate (${reasonOf(cause)}); export or issue it again`, { cause })
  }
}

function readKey(pem: string, name: string): KeyObject {
  if (!pem.includes("PRIVATE KEY-----"))
    throw new TlsError(
      `${name} holds no PEM private key (-----BEGIN PRIVATE KEY-----); convert a DER file with 'openssl pkey -inform der'`,
    )
  if (/-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m.test(pem))
    throw new TlsError(
      `${name} is encrypted, and the server cannot ask for a passphrase; decrypt it with 'openssl pkey -in KEY -out PLAIN', and let only the server's user read the result`,
    )
  try {
    return createPrivateKey(pem)
  } catch (cause) {
    throw new TlsError(`${name} is not a valid private key (${reasonOf(cause)}); export it again`, { cause })
  }
}

const reasonOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))
