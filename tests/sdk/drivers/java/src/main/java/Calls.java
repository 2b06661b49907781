import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.ToNumberPolicy;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.stream.Stream;

/** The calls that a driver is told to make. */
class Calls {
  // Numbers keep the digits that they have.
  private static final Gson GSON =
      new GsonBuilder()
          .setObjectToNumberStrategy(ToNumberPolicy.LAZILY_PARSED_NUMBER)
          .create();

  private final Map<String, Object> call;

  private Calls(Map<String, Object> call) {
    this.call = call;
  }

  /** Each line of the standard input, as it comes. */
  static Stream<Calls> read() {
    InputStreamReader input = new InputStreamReader(System.in, StandardCharsets.UTF_8);
    return new BufferedReader(input)
        .lines()
        .map(line -> new Calls(GSON.fromJson(line, Map.class)));
  }

  String text(String name) {
    return (String) call.get(name);
  }

  @SuppressWarnings("unchecked")
  Map<String, Object> object(String name) {
    return (Map<String, Object>) call.get(name);
  }

  boolean isNative() {
    return "Native Values".equals(text("event"));
  }
}
