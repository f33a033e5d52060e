import { KEEPER_SCRIPT } from "./keeper-script.ts";

/**
 * The program that gives the guest random numbers and a time of its own, for perl without modules: Node has neither ioctl nor clock_settime. Its
 * arguments are the kernel's random device and the file of the machine's id.
 *
 * It does everything once before it says `ready`, so that all it needs is in memory when the guest is saved: with bytes that count as nothing, and with the
 * time that it is. Then each line sets them: 128 hexadecimal digits or `-`, the host's time and when that came by the clock that never jumps, nanoseconds.
 * Its answer is `ok` or why not. `keep` and a stream's number have it keep the agent's port, which is its descriptor 3.
 *
 * 0x40085203 is RNDADDENTROPY, 0x5207 RNDRESEEDCRNG; 228, 227 and 170 are clock_gettime, clock_settime and sethostname on x86-64, 0 and 1 the real and the monotonic clock.
 */
export const RENEWER_SCRIPT = `${String.raw`
$| = 1;
my ($RANDOM, $MACHINE_ID) = @ARGV;
my $SECOND = 1000000000;
open(my $random, "+<", $RANDOM) or die;
open(my $machine_id, ">", $MACHINE_ID) or die;
sub clock {
  my $time = "\0" x 16;
  syscall(228, $_[0], $time);
  my ($seconds, $rest) = unpack("q q", $time);
  return $seconds * $SECOND + $rest;
}
sub renew {
  my ($entropy, $bits, $time, $came) = @_;
  if ($entropy ne "") {
    my $bytes = pack("H*", $entropy);
    ioctl($random, 0x40085203, pack("l l a*", $bits, length($bytes), $bytes)) or return "cannot add entropy: $!";
    ioctl($random, 0x5207, 0) or return "cannot reseed the random numbers: $!";
  }
  $time += clock(1) - $came;
  my $rest = $time % $SECOND;
  my $set = pack("q q", ($time - $rest) / $SECOND, $rest);
  syscall(227, 0, $set) == 0 or return "cannot set the clock: $!";
  return "ok";
}
sub name {
  my ($host, $machine) = @_;
  syscall(170, $host, length $host) == 0 or return "cannot set the host name: $!";
  syswrite($machine_id, "$machine\n") or return "cannot write the machine id: $!";
  return "ok";
}
sub line {
  my ($entropy, $time, $came) = split(" ", $_[0]);
  return renew($entropy eq "-" ? "" : $entropy, 4 * length($entropy), $time, $came);
}
`}${KEEPER_SCRIPT}${String.raw`
my $dry = renew("00" x 64, 0, clock(0), clock(1));
line("- " . clock(0) . " " . clock(1)) if $dry eq "ok";
print STDOUT ($dry eq "ok" ? "ready" : $dry) . "\n";
while (sysread(STDIN, my $line, 4096)) {
  keep($1) if $line =~ /^keep (\d+)$/;
  print STDOUT line($line) . "\n";
}
`}`;
