/**
 * Key of the trailing metadata in which our agent says that a container's command cannot run: `127` it does not exist, `126` it cannot be
 * executed. Kata has no word for it.
 */
export const EXIT_CODE_KEY = "tapvisor-exit-code";

/** What the `agent_version` of `Version` begins with in an agent that keeps to all of the protocol's README; any other is taken for a Kata agent. */
export const OWN_AGENT = "tapvisor/";
/** Key of the trailing metadata in which our agent says why a call of `tapvisor.Files` has failed: the system's word, `ENOENT` say. */
export const ERRNO_KEY = "tapvisor-errno";
/** What an agent says among its `extra_features` when it takes the fields of oci.proto that are our own. */
export const OCI_EXTENSIONS = "tapvisor.oci";
