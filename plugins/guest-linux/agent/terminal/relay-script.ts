/**
 * The program between a terminal and the process's streams, for perl without modules. Node can neither receive a descriptor nor make an ioctl, and crun's
 * own relay wants a terminal for its input and loses what comes last; so crun sends the terminal's master to descriptor 3, a socket.
 *
 * Descriptor 0 is what is typed, 1 what is shown, 4 the sizes: rows and columns, two bytes each. The end of 4 says that the process has ended: what the
 * terminal still holds goes out, then this ends. The end of 0 does nothing: a terminal has no half that could be closed.
 *
 * Both ways go on independently, so that Ctrl-C gets through while nobody reads. 47 is recvmsg on x86-64, 4 and 2050 F_SETFL with O_RDWR | O_NONBLOCK,
 * 0x5414 TIOCSWINSZ, 11 EAGAIN. The socket may come without blocking, hence the first select.
 */
export const RELAY_SCRIPT = String.raw`
my $PIECE = 4096;
open(my $sizes, "<&=", 4) or die;
my ($wait, $byte, $control) = ("", "\0", "\0" x 24);
vec($wait, 3, 1) = 1;
select($wait, undef, undef, undef);
my $vector = pack("P L!", $byte, 1);
my $message = pack("x16 P L! P L! x8", $vector, 1, $control, 24);
exit 0 if syscall(47, 3, $message, 0) != 1;
my $fd = unpack("x16 l", $control);
open(my $terminal, "+<&=", $fd) or die;
fcntl($terminal, 4, 2050) or die;
my ($typed, $shown, $open, $running) = ("", "", 1, 1);
for (;;) {
  my ($r, $w) = ("", "");
  vec($r, 0, 1) = 1 if $open && $typed eq "";
  vec($r, 4, 1) = 1 if $running;
  vec($r, $fd, 1) = 1 if $shown eq "";
  vec($w, $fd, 1) = 1 if $typed ne "";
  vec($w, 1, 1) = 1 if $shown ne "";
  select($r, $w, undef, $running || $shown ne "" ? undef : 0);
  if (vec($r, 4, 1)) {
    if (sysread($sizes, my $size, 4)) { ioctl($terminal, 0x5414, pack("S2 x4", unpack("S2", $size))) }
    else { $running = $open = 0; $typed = "" }
  }
  if (vec($w, 1, 1)) {
    my $count = syswrite(STDOUT, $shown, $PIECE);
    last unless $count;
    substr($shown, 0, $count) = "";
  } elsif ($shown eq "") {
    my $count = sysread($terminal, $shown, $PIECE);
    last if defined $count ? $count == 0 : $! != 11 || !$running;
  }
  if ($typed ne "") {
    my $count = syswrite($terminal, $typed);
    substr($typed, 0, $count) = "" if $count;
  } elsif ($open && vec($r, 0, 1)) {
    $open = sysread(STDIN, $typed, $PIECE);
  }
}
`;
