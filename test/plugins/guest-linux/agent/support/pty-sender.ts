import { spawn } from "node:child_process";

/**
 * What the OCI runtime does for a terminal: makes one, runs a command in it, and sends its master to a socket. Resolves with the exit code.
 * For perl, which can do what Node cannot: 46 is sendmsg, 0x40045431 and 0x80045430 unlock a terminal and tell its number, 0x540e makes it a session's own.
 */
export function runInTerminal(socketPath: string, command: readonly string[], cwd: string): Promise<number> {
  const child = spawn("perl", ["-MSocket", "-MPOSIX", "-e", SENDER, socketPath, ...command], {
    stdio: ["ignore", "ignore", "inherit"],
    cwd,
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => resolve(code ?? -1));
  });
}

const SENDER = `
my ($path, @command) = @ARGV;
open(my $master, "+<", "/dev/ptmx") or die "ptmx: $!";
my ($unlocked, $number) = (pack("i", 0)) x 2;
ioctl($master, 0x40045431, $unlocked) or die "unlock: $!";
ioctl($master, 0x80045430, $number) or die "number: $!";
my $slave = "/dev/pts/" . unpack("i", $number);
open(my $held, "+<", $slave) or die "$slave: $!"; # until the command has it: a terminal that nobody has open is at its end
socket(my $socket, PF_UNIX, SOCK_STREAM, 0) or die;
connect($socket, sockaddr_un($path)) or die "connect: $!";
my $byte = " ";
my $vector = pack("P L!", $byte, 1);
my $control = pack("L! i i i x4", 20, 1, 1, fileno($master));
my $message = pack("x16 P L! P L! x8", $vector, 1, $control, 24);
syscall(46, fileno($socket), $message, 0) == 1 or die "sendmsg: $!";
my $pid = fork;
if ($pid == 0) {
  POSIX::setsid();
  open(my $tty, "+<", $slave) or die;
  ioctl($tty, 0x540e, 0);
  POSIX::dup2(fileno($tty), $_) for 0 .. 2;
  close($_) for $tty, $held, $master, $socket;
  exec @command or die;
}
close($_) for $master, $held, $socket;
waitpid($pid, 0);
exit($? & 127 ? 128 + ($? & 127) : $? >> 8);
`;
