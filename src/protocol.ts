/** The wire formats between host and guest, for authors of transports, agents and guests. */
export {};
