import { type AnyTapvisorError, isTapvisorError } from "tapvisor/plugin";

/** The error that `work` must fail with. */
export async function refusal(work: Promise<unknown>): Promise<AnyTapvisorError> {
  const error = await work.then(
    (value) => new Error(`succeeded with ${JSON.stringify(value)}`),
    (thrown: unknown) => thrown,
  );
  if (isTapvisorError(error)) return error;
  throw error;
}
