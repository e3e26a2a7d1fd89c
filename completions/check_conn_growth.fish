function __fish_check_conn_growth_using_command
    set -l cmd (commandline -xpc)
    set -e cmd[1]
    set -l target_cmd $argv

    set -l known_value_flags 'P' 'by' 'c' 'critical' 'extra-opts' 'left-critical' 'left-warning' 'limit' 'local' 'metric' 'netns' 'o' 'output' 'output-file' 'p' 'peer' 'pid' 'port' 'proc-root' 'profile' 'rehearse' 'replay' 'require-listener' 'side' 'source' 'state-dir' 't' 'timeout' 'top' 'unit' 'unix' 'user' 'usual-warning' 'w' 'warning' 

    set -l i 1
    set -l cleaned_cmd
    while test $i -le (count $cmd)
        set -l arg $cmd[$i]
        if string match -q -- "-*" $arg
            set -l pure_flag (string replace -r '^--?' '' -- $arg)
            if contains -- $pure_flag $known_value_flags
                set -l next_i (math $i + 1)
                if test $next_i -le (count $cmd)
                    if not string match -q -- "-*" $cmd[$next_i]
                        set i $next_i
                    end
                end
            end
        else
            set -a cleaned_cmd $arg
        end
        set i (math $i + 1)
    end

    set -l count_cleaned (count $cleaned_cmd)
    set -l count_target (count $target_cmd)
    
    if test $count_cleaned -ne $count_target
        return 1
    end
    
    for i in (seq $count_target)
        if test $cleaned_cmd[$i] != $target_cmd[$i]
            return 1
        end
    end
    
    return 0
end

complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l metric -r -d 'what may leak: connections, fds (open descriptors) or rss (resident memory) of the processes of --pid, --unit, --user or the port; default connections'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l limit -r -d 'connections, descriptors or bytes (512M, 2G) that there can be, or auto: what runs out first of the profile\'s limit, the open files of its processes, the ephemeral ports and the cgroup\'s memory; default auto'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l left-warning -r -d 'warn when a leak may leave less time than this until the limit; default from the profile'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l left-critical -r -d 'be critical when a leak may leave less time than this until the limit; default from the profile'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l usual-warning -r -d 'warn when there are this many percent more than usual at this hour, once three days are known; default never'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l state-dir -r -d 'where the history is kept; default /var/lib/connleak, see the man page'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l rehearse -r -d 'for rehearsals: judge as if time ran this many times as fast, thresholds too, on a history of its own'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l port -s p -r -d 'service port, several or a range as 8000-8100. A port finds its profile by itself; may be repeated'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l unix -r -d 'UNIX socket that the service listens on: its path, @NAME for an abstract one, or a pattern with * and ?; may be repeated'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l profile -s P -r -d 'thresholds of this service: a name such as memcached, or a YAML file. Without -p and --unix also its ports and UNIX sockets. Several, for -o prometheus only, are checked one after the other; may be repeated'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l warning -s w -r -d 'warning range for the check\'s main number; default from the profile, as far as it has one'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l critical -s c -r -d 'critical range for the check\'s main number; default as for --warning'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l side -r -d 'which end of the connections: server (the local port is the service\'s), client (the remote port is) or both; default from the profile, else both'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l peer -r -d 'only sockets whose remote address is in this range; may be repeated'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l local -r -d 'only sockets whose local address is in this range; may be repeated'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l user -r -d 'only sockets of this user'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l unit -r -d 'only sockets of this systemd unit, or with a slash of this cgroup path and all below it'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l pid -r -d 'only sockets that these processes hold; may be repeated'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l require-listener -r -d 'be UNKNOWN, or with :critical CRITICAL, where nothing listens on the port; by default that is only said'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l netns -r -d 'network namespace: self, all of this host\'s (containers), that of a process id, or a name from \'ip netns\'; default self'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l source -r -d 'where sockets are read: auto, netlink or proc (without ages); default auto'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l proc-root -r -d 'read processes and socket tables below this directory, as /host/proc in a container'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l replay -r -d 'judge a dump recorded with \'ss -tanie -D FILE\' instead of this machine'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l by -r -d 'group what is found by owner, unit, user, peer or tenant; default owner'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l top -r -d 'most entries of any list in the output, 0 for all; default 5'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l output -s o -r -d 'output format: nagios, json or prometheus; default nagios'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l output-file -r -d 'write the output to this file, whole or not at all, and the plain line to standard output'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l timeout -s t -r -d 'time limit in seconds and the state it ends in; default 10:unknown'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l verbose -s v -d 'say more: -v owners, -vv every socket (with -o json its descriptor, too), -vvv what each stage saw and took'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l help -s h -d 'show this help'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l version -s V -d 'show the version'
complete -c check_conn_growth -n '__fish_check_conn_growth_using_command' -f -l extra-opts -r -d 'read more options from a section of an INI file; what is typed here wins; may be repeated'
