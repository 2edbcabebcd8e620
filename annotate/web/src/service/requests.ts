/** Requests to a service, which may ask for a key. */

import { KeyError, PageError, RoleError, TransientError } from "../backend";

/** @throws TransientError the service can't be reached. */
export async function send(address: URL | string, key: string, init: RequestInit): Promise<Response> {
  const headers = new Headers(init.headers);
  if (key) headers.set("Authorization", `Bearer ${key}`);
  try {
    return await fetch(address, { ...init, headers });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new TransientError("No connection to the service; retrying.");
  }
}

/** The error of an answer that isn't good. */
export function refusal({ status }: Response, message: string, isTransient: boolean): PageError {
  if (status === 401)
    return new KeyError("The service asks for an API key: type the one that you were given.");
  const Failure = status === 403 ? RoleError : isTransient ? TransientError : PageError;
  return new Failure(`The service refuses this (${status}): ${message}.`);
}

/** What an answer that isn't good has. */
export async function refused(response: Response): Promise<{ code: string; message: string; current: unknown; project?: unknown }> {
  const { error, ...details } = await response.json().catch(() => ({}));
  const { code = "", message }: { code?: string; message?: string } = error ?? {};
  return { current: null, ...details, code, message: message || response.statusText || "it doesn't say why" };
}
